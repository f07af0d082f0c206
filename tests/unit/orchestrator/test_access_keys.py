"""Keys: only hashes are kept, a wrong, revoked or expired one is nobody's, and a changed file is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fixtures_access import Door

from orchestrator.access.control import AccessControl
from orchestrator.access.keys import KeyRing, create_key, read_keys, revoke_key
from orchestrator.access.scopes import Scope
from orchestrator.errors import ConfigurationError

FILTER = {"category": {"values": ["acme"]}}


def ring(door: Door) -> KeyRing:
    return KeyRing(door.keys_file, per_minute=7)


def test_a_key_is_its_caller(door: Door) -> None:
    credential = door.key(Scope.SEARCH, Scope.READ, name="web")
    caller = ring(door).caller_of(credential)
    assert caller is not None
    assert caller.id == f"key:{credential.split('_')[1]}"
    assert caller.scopes == {Scope.SEARCH, Scope.READ}
    assert caller.per_minute == 7


def test_the_secret_is_kept_nowhere(door: Door) -> None:
    credential = door.key()
    secret = credential.split("_", 2)[2]
    content = door.keys_file.read_text()
    assert secret not in content
    assert secret.encode().hex() not in content
    assert door.keys_file.stat().st_mode & 0o777 == 0o600


def test_equal_secrets_would_have_different_hashes(door: Door) -> None:
    door.key()
    keys = read_keys(door.keys_file)
    assert len({key.salt for key in keys}) == len(keys)


@pytest.mark.parametrize("place", [5, 25, -1])
def test_one_wrong_character_is_another_key(door: Door, place: int) -> None:
    credential = door.key()
    other = "1" if credential[place] != "1" else "0"
    wrong = credential[:place] + other + (credential[place + 1 :] if place != -1 else "")
    assert wrong != credential
    assert ring(door).caller_of(wrong) is None


def test_the_secret_of_one_key_does_not_open_another(door: Door) -> None:
    one, other = door.key().split("_", 2), door.key().split("_", 2)
    assert ring(door).caller_of(f"sns_{one[1]}_{other[2]}") is None


@pytest.mark.parametrize("odd", ["", "sns_", "sns_x_y", "sns_" + "0" * 16 + "_" + "\u00e4" * 43, "\x00" * 64])
def test_what_is_no_key_is_nobodys(door: Door, odd: str) -> None:
    assert ring(door).caller_of(odd) is None


def test_an_expired_key_is_nobodys(door: Door) -> None:
    credential = door.key(expires=datetime.now(UTC) - timedelta(seconds=1))
    assert ring(door).caller_of(credential) is None


@pytest.mark.usefixtures("now")
def test_a_running_system_takes_new_keys_and_leaves_revoked_ones(door: Door) -> None:
    running = ring(door)
    credential = door.key()
    assert running.caller_of(credential) is not None
    door.revoke(credential)
    assert running.caller_of(credential) is None
    assert len(read_keys(door.keys_file)) == 2  # it stays in the file


@pytest.mark.usefixtures("now")
def test_a_broken_file_changes_nothing_until_it_is_mended(door: Door) -> None:
    credential = door.key()
    running, whole = ring(door), door.keys_file.read_text()
    door.keys_file.write_text(whole[:-30])
    assert running.caller_of(credential) is not None
    door.keys_file.write_text(whole)
    door.revoke(credential)
    assert running.caller_of(credential) is None


def test_a_key_keeps_the_permissions_of_its_file(door: Door) -> None:
    door.keys_file.chmod(0o644)
    door.key()
    assert door.keys_file.stat().st_mode & 0o777 == 0o644
    door.keys_file.chmod(0o666)
    with pytest.raises(ConfigurationError, match="written by others"):
        ring(door)


def test_revoking_is_of_a_key_that_is_there(door: Door) -> None:
    with pytest.raises(ConfigurationError, match="no key of this id"):
        revoke_key(door.keys_file, "0" * 16)


def test_a_missing_or_odd_file_stops_the_start(tmp_path: Path) -> None:
    for content in (None, "", "[]", '{"keys": [{}]}', '{"version": 2, "keys": []}'):
        path = tmp_path / "keys.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            KeyRing(path, 1)


def test_one_id_twice_is_refused(door: Door) -> None:
    content = json.loads(door.keys_file.read_text())
    content["keys"] *= 2
    door.keys_file.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="two keys of one id"):
        ring(door)


def test_a_key_with_a_filter_has_users_of_its_own(door: Door) -> None:
    credential = door.key(Scope.SEARCH, name="acme", condition=FILTER)
    caller = ring(door).caller_of(credential)
    assert caller is not None
    assert caller.expression == 'category in ["acme"]'
    assert caller.named("u1") == "acme:u1"
    assert caller.named("") == ""


@pytest.mark.parametrize("scope", [Scope.WRITE, Scope.ADMIN, Scope.METRICS])
def test_a_filter_restricts_no_scope_that_acts_on_everything(door: Door, scope: Scope) -> None:
    with pytest.raises(ConfigurationError, match="scopes"):
        door.key(scope, condition=FILTER)


@pytest.mark.parametrize("condition", [{}, {"category": {}}, {"owner": 1}, {"and": {"filters": []}}])
def test_a_filter_that_is_none_makes_no_key(door: Door, condition: dict[str, object]) -> None:
    before = door.keys_file.read_bytes()
    with pytest.raises(ConfigurationError):
        door.key(Scope.SEARCH, condition=condition)
    assert door.keys_file.read_bytes() == before


@pytest.mark.parametrize("users", ["acme", "a:b:", ":"])
def test_names_of_two_tenants_cannot_meet(door: Door, users: str) -> None:
    """ "a:" with "b:u" would be "a:b:" with "u"."""
    with pytest.raises(ConfigurationError, match="users"):
        create_key(door.keys_file, "x", [Scope.SEARCH], users=users)


@pytest.mark.usefixtures("now")
def test_who_listens_hears_what_became_of_which_key(door: Door) -> None:
    told: list[Mapping[str, list[str]]] = []
    kept = door.key(name="kept").split("_")[1]
    gone = sorted(key.id for key in read_keys(door.keys_file) if key.id != kept)
    running = KeyRing(door.keys_file, 7, told.append)
    running.caller_of("")
    assert told == [], "what was there at the start is no change"
    new = door.key().split("_")[1]
    running.caller_of("")
    revoke_key(door.keys_file, kept)
    running.caller_of("")
    content = json.loads(door.keys_file.read_text())
    content["keys"] = [key | {"per_minute": 3} for key in content["keys"] if key["id"] in (kept, new)]
    door.keys_file.write_text(json.dumps(content))
    running.caller_of("")
    assert told == [
        {"created": [new]},
        {"revoked": [kept]},
        {"altered": sorted([kept, new]), "removed": gone},
    ]


@pytest.mark.usefixtures("now")
def test_changes_of_keys_are_in_the_audit(door: Door, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    access = AccessControl(door.settings.model_copy(update={"audit_file": audit}))
    credential = door.key(Scope.SEARCH)
    access.allow("Search", [f"Bearer {credential}"])
    access.close()
    (line,) = [json.loads(line) for line in audit.read_text().splitlines()]
    assert (line["call"], line["outcome"], line["created"]) == ("keys", "ok", [credential.split("_")[1]])
    assert credential.split("_", 2)[2] not in audit.read_text()
