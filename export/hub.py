"""Files of model hubs: at a pinned commit, by pinned hashes, or from a folder that the user names.

The hub's client keeps what it brought in its own cache; every file is hashed again each time it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx2
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError

from export.errors import FetchError
from export.fetch import file_sha256
from export.profile import Hub, HubFile, Profile
from export.settings import Settings

__all__ = ["hub_files"]

_WAYS = (
    "choose one of three sources: the hub, with the commit and the SHA-256 of each file in the profile; "
    "--weights-from FOLDER, which holds <source>/<file> as the profile names them; or --random-init, "
    "which proves shapes and speed and finds nothing"
)


def hub_files(profile: Profile, name: str, settings: Settings) -> Mapping[str, Path]:
    """Files of one hub source by key, hashes checked.

    Raises:
        FetchError: a commit or a hash is not pinned, the hub cannot be reached, a file is missing or is
            another one than the pinned. The text says which sources there are to choose from.
    """
    source = profile.hub[name]
    if profile.origin.kind == "folder":
        assert profile.origin.folder is not None
        folder = profile.origin.folder / name
        files = {key: folder / file.path for key, file in source.files.items()}
        for key, path in files.items():
            _check(f"{name}: {path}", path, source.files[key])
        return files
    if missing := [file.path for file in source.files.values() if file.sha256 is None]:
        raise FetchError(
            f"{source.repo}: the profile pins no SHA-256 of {', '.join(missing)}: not fetched; {_WAYS}"
        )
    if source.revision is None:
        raise FetchError(f"{source.repo}: the profile pins no commit: not fetched; {_WAYS}")
    return {key: _fetch(source, file, settings) for key, file in source.files.items()}


def _fetch(source: Hub, file: HubFile, settings: Settings) -> Path:
    what = f"{source.repo}/{file.path}"
    try:
        path = Path(
            hf_hub_download(
                source.repo,
                file.path,
                revision=source.revision,
                cache_dir=settings.cache / "hub",
                etag_timeout=min(10.0, settings.fetch_timeout_s),
            )
        )
    except (RemoteEntryNotFoundError, HfHubHTTPError) as error:  # it answered, with a refusal
        raise FetchError(f"{what}: {_first_line(error)}; {_WAYS}") from error
    # The client says LocalEntryNotFoundError when nobody answers; what breaks later comes from its HTTP
    # library or the operating system.
    except (LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise FetchError(f"{what}: the hub cannot be reached ({_first_line(error)}); {_WAYS}") from error
    _check(what, path, file)
    return path


def _check(what: str, path: Path, file: HubFile) -> None:
    if not path.is_file():
        raise FetchError(f"{what} is not there; {_WAYS}")
    found = file_sha256(path)
    if file.sha256 is not None and found != file.sha256:
        raise FetchError(f"{what} has SHA-256 {found}, pinned is {file.sha256}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
