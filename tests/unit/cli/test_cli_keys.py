"""`sensorium keys`: what it makes is taken, what it lists tells no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from orchestrator.access.keys import KeyRing
from orchestrator.access.scopes import Scope

RUN = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "keys.json")


def keys(*arguments: str) -> tuple[int, str, str]:
    done = RUN.invoke(app, ["keys", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_key_is_made_listed_and_revoked(file: str) -> None:
    code, credential, said = keys("create", "web", "--scope", "search", "--scope", "read", "--file", file)
    assert code == 0
    caller = KeyRing(Path(file), 1).caller_of(credential.strip())
    assert caller is not None
    assert caller.scopes == {Scope.SEARCH, Scope.READ}
    key_id = caller.id.removeprefix("key:")
    assert key_id in said
    code, listed, _ = keys("list", "--file", file)
    assert code == 0
    assert key_id[:8] in listed
    assert credential.strip().split("_", 2)[2] not in listed
    assert keys("revoke", key_id, "--file", file)[0] == 0
    assert KeyRing(Path(file), 1).caller_of(credential.strip()) is None


def test_a_tenants_key_has_its_filter_days_and_rate(file: str) -> None:
    options = ["--scope", "search", "--filter", "category=acme", "--per-minute", "5", "--days", "1"]
    code, credential, _ = keys("create", "acme", *options, "--file", file)
    assert code == 0
    caller = KeyRing(Path(file), 1).caller_of(credential.strip())
    assert caller is not None
    assert (caller.expression, caller.prefix, caller.per_minute) == ('category in ["acme"]', "acme:", 5)


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "x y", "--scope", "read"),
        ("create", "x", "--scope", "write", "--filter", "category=acme"),
        ("revoke", "0" * 16),
        ("list",),
    ],
)
def test_what_cannot_be_ends_with_one_line(file: str, arguments: tuple[str, ...]) -> None:
    code, out, err = keys(*arguments, "--file", file)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")


def test_a_file_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_ACCESS__KEYS_FILE", raising=False)
    code, _, err = keys("list")
    assert code == 1
    assert "SENSORIUM_ACCESS__KEYS_FILE" in " ".join(err.split())


def test_a_wrong_word_in_a_filter_is_the_command_lines(file: str) -> None:
    assert keys("create", "x", "--scope", "read", "--filter", "colour=red", "--file", file)[0] == 2
