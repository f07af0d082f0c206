"""Debian packages as a source of files: `apt-get download`, SHA-256, `dpkg-deb --extract`. No root is needed.

A package is kept below the cache folder by the hash of its bytes, beside its unpacked tree:

    <cache>/<sha256>/<file>.deb
    <cache>/<sha256>/unpacked/
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalogue.errors import ChecksumError, PackageError, PackageUnavailableError, PackageVersionError
from catalogue.locks import exclusive

__all__ = ["TOOLS", "DebianPackage", "available", "fetch", "unpack"]

TOOLS = ("apt-get", "apt-cache", "dpkg-deb")
_ACQUIRE = ("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20")
_UPDATE_TIMEOUT_S = 120.0
_DOWNLOAD_TIMEOUT_S = 900.0

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all)."""


@dataclass(frozen=True)
class DebianPackage:
    """One exact package: nothing but these bytes is accepted."""

    name: str
    version: str
    sha256: str
    size_bytes: int

    def folder(self, cache: Path) -> Path:
        return cache / self.sha256

    def file(self, cache: Path) -> Path:
        # An epoch's colon stands in no file name of ours.
        return self.folder(cache) / f"{self.name}_{self.version.rpartition(':')[2]}.deb"


def available(package: DebianPackage, cache: Path) -> str | None:
    """Why `package` cannot be had on this machine, or None.

    Says what can be known without the network: whether it is cached, else whether the tools are there. A
    network that is missing shows itself in `fetch`, as PackageUnavailableError.
    """
    if (package.folder(cache) / "unpacked").is_dir():
        return None
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{', '.join(missing)} not found: not a Debian-like system" if missing else None


def fetch(package: DebianPackage, cache: Path, progress: Progress | None = None) -> Path:
    """The verified .deb, downloaded unless it is cached.

    Raises PackageUnavailableError, PackageVersionError or ChecksumError.
    """
    target = package.file(cache)
    with exclusive(package.folder(cache)):
        if target.is_file() and _sha256(target) == package.sha256:
            return target
        reason = available(package, cache)
        if reason:
            raise PackageUnavailableError(reason)
        partial = package.folder(cache) / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        options = _lists_that_know(package, cache)
        _download(package, partial, options, progress)
        found = sorted(partial.glob("*.deb"))
        if len(found) != 1:
            raise PackageUnavailableError(f"apt-get download {package.name} left no package behind")
        digest = _sha256(found[0])
        if digest != package.sha256:
            shutil.rmtree(partial)
            message = f"{package.name} {package.version}: SHA-256 is {digest}, pinned is {package.sha256}"
            raise ChecksumError(message)
        found[0].replace(target)
        shutil.rmtree(partial)
        return target


def unpack(package: DebianPackage, cache: Path) -> Path:
    """The folder that holds the package's files, unpacked from the fetched .deb unless that was done before.

    Raises PackageError when the package is not fetched or dpkg-deb refuses it.
    """
    folder = package.folder(cache)
    target = folder / "unpacked"
    with exclusive(folder):
        if target.is_dir():
            return target
        temporary = folder / "unpacking"
        shutil.rmtree(temporary, ignore_errors=True)
        _run(["dpkg-deb", "--extract", str(package.file(cache)), str(temporary)], timeout_s=300.0)
        temporary.rename(target)
        return target


def _lists_that_know(package: DebianPackage, cache: Path) -> tuple[str, ...]:
    """Options that make apt see the pinned version: none, or package lists of our own.

    A fresh container often has no lists, and only root may fetch the system's.
    """
    versions = _versions(package.name, ())
    if package.version in versions:
        return ()
    lists = cache / "apt"
    # apt otherwise changes to a user that may not write here.
    sandbox = ("-o", "APT::Sandbox::User=root")
    own = ("-o", f"Dir::State::lists={lists}/lists", "-o", f"Dir::Cache={lists}/cache", *sandbox)
    with exclusive(lists):
        (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (lists / "cache").mkdir(exist_ok=True)
        try:
            _run(["apt-get", "-q", *_ACQUIRE, *own, "update"], timeout_s=_UPDATE_TIMEOUT_S)
        except PackageError as error:
            raise PackageUnavailableError(f"no package lists, and they cannot be fetched: {error}") from error
        versions = _versions(package.name, own) or versions
    if package.version in versions:
        return own
    if versions:
        offered = ", ".join(versions)
        message = f"{package.name}: the mirror offers {offered}, but {package.version} is pinned"
        raise PackageVersionError(f"{message}; change version, sha256 and size together to move on")
    raise PackageUnavailableError(f"the configured mirrors have no package {package.name}")


def _versions(name: str, options: tuple[str, ...]) -> list[str]:
    """Versions apt knows of, as `apt-cache madison` prints them: name | version | source."""
    lines = _run(["apt-cache", *options, "madison", name], timeout_s=60.0).splitlines()
    return [fields[1].strip() for line in lines if len(fields := line.split("|")) == 3]


def _download(
    package: DebianPackage, folder: Path, options: tuple[str, ...], progress: Progress | None
) -> None:
    command = ["apt-get", "-q", *_ACQUIRE, *options, "-o", "APT::Sandbox::User=root", "download"]
    command.append(f"{package.name}={package.version}")
    deadline = time.monotonic() + _DOWNLOAD_TIMEOUT_S
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise PackageUnavailableError(f"apt-get took more than {_DOWNLOAD_TIMEOUT_S:.0f} s")
                if progress:
                    so_far = sum(path.stat().st_size for path in folder.glob("*.deb*"))
                    progress(so_far, package.size_bytes)
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=10)
    if process.returncode != 0:
        raise PackageUnavailableError(
            f"apt-get download failed: {_last_line(log.read_text(errors='replace'))}"
        )


def _run(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise PackageError(f"{command[0]} exited with {done.returncode}: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
