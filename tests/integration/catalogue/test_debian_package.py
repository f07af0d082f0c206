"""`apt-get download` and `dpkg-deb`, driven for real against a package and a mirror made here.

The mirror is a folder behind apt's `copy:` method, with package lists of its own: no network, no root.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from catalogue import ChecksumError, PackageUnavailableError, PackageVersionError
from catalogue.debian import TOOLS, DebianPackage, available, fetch, unpack

MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs Debian's apt and dpkg: {', '.join(MISSING)} not found"
)

NAME = "sensorium-test-stamps"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DebianPackage:
    """A package of one file on a mirror that apt is configured to use, and nothing else."""
    tree, mirror, state = tmp_path / "tree", tmp_path / "mirror", tmp_path / "state"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share/x").mkdir(parents=True)
    (tree / "usr/share/x/frog.txt").write_text("A frog.\n", encoding="utf-8")
    fields = (
        f"Package: {NAME}\nVersion: 1:2.0-1\nArchitecture: all\n"
        "Maintainer: T <t@example.org>\nDescription: t\n"
    )
    (tree / "DEBIAN/control").write_text(fields, encoding="utf-8")
    mirror.mkdir()
    deb = mirror / f"{NAME}_2.0-1_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)], check=True, capture_output=True
    )
    content = deb.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    entry = f"{fields}Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {digest}\n\n"
    (mirror / "Packages").write_text(entry, encoding="utf-8")
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "sources.list").write_text(f"deb [trusted=yes] copy:{mirror} ./\n", encoding="utf-8")
    (state / "status").write_text("", encoding="utf-8")
    config = "\n".join(
        (
            f'Dir::State::lists "{state}/lists";',
            f'Dir::State::status "{state}/status";',
            f'Dir::Cache "{state}/cache";',
            f'Dir::Etc::sourcelist "{state}/sources.list";',
            f'Dir::Etc::sourceparts "{state}/none";',
            'APT::Sandbox::User "root";',
        )
    )
    (state / "apt.conf").write_text(config + "\n", encoding="utf-8")
    monkeypatch.setenv("APT_CONFIG", str(state / "apt.conf"))
    return DebianPackage(NAME, "1:2.0-1", digest, len(content))


def test_fetches_and_unpacks_without_lists(package: DebianPackage, tmp_path: Path) -> None:
    cache, seen = tmp_path / "cache", []
    assert available(package, cache) is None
    file = fetch(package, cache, lambda done, total: seen.append((done, total)))
    assert file == cache / package.sha256 / f"{NAME}_2.0-1.deb"
    assert (unpack(package, cache) / "usr/share/x/frog.txt").read_text(encoding="utf-8") == "A frog.\n"
    assert all(0 <= done <= total for done, total in seen)


def test_what_is_cached_is_not_fetched_again(
    package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    file = fetch(package, cache)
    unpack(package, cache)
    monkeypatch.setenv("PATH", "")
    assert available(package, cache) is None
    assert fetch(package, cache) == file
    assert unpack(package, cache).is_dir()


def test_a_damaged_download_is_fetched_again(package: DebianPackage, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    file = fetch(package, cache)
    file.write_bytes(file.read_bytes()[:-1])
    assert hashlib.sha256(fetch(package, cache).read_bytes()).hexdigest() == package.sha256


def test_an_interrupted_unpacking_is_done_again(package: DebianPackage, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fetch(package, cache)
    half = package.folder(cache) / "unpacking"
    (half / "usr").mkdir(parents=True)
    (half / "usr/stale").write_bytes(b"x")
    assert not (unpack(package, cache) / "usr/stale").exists()


def test_another_version_on_the_mirror(package: DebianPackage, tmp_path: Path) -> None:
    with pytest.raises(PackageVersionError, match=r"offers 1:2\.0-1, but 1:3\.0-1 is pinned"):
        fetch(replace(package, version="1:3.0-1"), tmp_path / "cache")


def test_other_bytes_than_the_pinned_ones(package: DebianPackage, tmp_path: Path) -> None:
    wrong = replace(package, sha256="0" * 64)
    with pytest.raises(ChecksumError, match="pinned is 0000"):
        fetch(wrong, tmp_path / "cache")
    assert not wrong.file(tmp_path / "cache").exists()


def test_an_unknown_package(package: DebianPackage, tmp_path: Path) -> None:
    with pytest.raises(PackageUnavailableError, match="have no package"):
        fetch(replace(package, name="sensorium-no-such"), tmp_path / "cache")


def test_a_mirror_that_is_gone(package: DebianPackage, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "mirror")
    with pytest.raises(PackageUnavailableError):
        fetch(package, tmp_path / "cache")


def test_no_apt(package: DebianPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get" in (available(package, tmp_path / "cache") or "")
    with pytest.raises(PackageUnavailableError, match="apt-get"):
        fetch(package, tmp_path / "cache")
