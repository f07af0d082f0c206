"""Hub sources against the real client, with a server of one's own in the place of the hub."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from export.errors import FetchError
from export.hub import hub_files
from export.profile import Hub, Origin, Profile, load_profile
from export.settings import Settings

CONTENT = b"weights"
COMMIT = "a" * 40
PINNED = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """What a hub says of one file at one commit."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(CONTENT)

    def _answer(self, body: bytes) -> None:
        there = self.path == f"/owner/name/resolve/{COMMIT}/model.safetensors"
        self.send_response(200 if there else 404)
        if there:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{PINNED}"')
            self.send_header("Content-Length", str(len(CONTENT)))
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
        self.end_headers()
        if there:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    return Settings()


def _ask(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _ask(monkeypatch, server.server_port)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def _profile(sha256: str | None = PINNED, origin: Origin | None = None, **changes: Any) -> Profile:
    file = {"path": "model.safetensors", "licence": "MIT", "sha256": sha256}
    source = {"repo": "owner/name", "revision": COMMIT, "files": {"weights": file}} | changes
    content = load_profile("lite").model_dump() | {"hub": {"other": Hub.model_validate(source)}}
    return Profile.model_validate(content | {"origin": origin or Origin()})


def test_a_pinned_file_is_brought_and_held_against_its_hash(hub: None, settings: Settings) -> None:
    assert hub_files(_profile(), "other", settings)["weights"].read_bytes() == CONTENT
    with pytest.raises(FetchError, match="pinned is 0000"):
        hub_files(_profile("0" * 64), "other", settings)


def test_what_the_hub_has_not_is_an_error(hub: None, settings: Settings) -> None:
    with pytest.raises(FetchError, match=r"owner/name/model\.safetensors"):
        hub_files(_profile(revision="b" * 40), "other", settings)


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (_profile(None), r"pins no SHA-256 of model\.safetensors"),
        (_profile(revision=None), "pins no commit"),
    ],
)
def test_what_is_not_pinned_is_not_fetched(profile: Profile, why: str, settings: Settings) -> None:
    with pytest.raises(FetchError, match=f"{why}.*--weights-from FOLDER.*--random-init"):
        hub_files(profile, "other", settings)


def test_a_hub_that_does_not_answer_leaves_three_ways(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask(monkeypatch, 9)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # the client asks six times, 23 s in all
    with pytest.raises(FetchError, match=r"cannot be reached.*one of three.*--weights-from.*--random-init"):
        hub_files(_profile(), "other", settings)


def test_a_folder_takes_the_place_of_the_hub(settings: Settings, tmp_path: Path) -> None:
    origin = Origin(kind="folder", folder=tmp_path / "given")
    with pytest.raises(FetchError, match=r"given/other/model\.safetensors is not there"):
        hub_files(_profile(origin=origin), "other", settings)
    (tmp_path / "given" / "other").mkdir(parents=True)
    (tmp_path / "given" / "other" / "model.safetensors").write_bytes(CONTENT)
    assert hub_files(_profile(origin=origin), "other", settings)["weights"].read_bytes() == CONTENT
    assert hub_files(_profile(None, origin), "other", settings), "what has no hash is the user's own affair"
    with pytest.raises(FetchError, match="pinned is 1111"):
        hub_files(_profile("1" * 64, origin), "other", settings)
