"""Builds what the server needs: its Python environment and its tree of binary, libraries and backends.

Both carry a stamp, the hash of everything they were made from, written last: whatever was interrupted is made
again, whatever is up to date stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.errors import InstallError
from serving.python_library import python_library
from serving.settings import ROOT, Settings
from serving.wheel import SHA256, fetch_wheel, unpack_server

__all__ = ["check_installed", "install"]

_REQUIREMENTS = Path(__file__).parent / "requirements.txt"
_BACKENDS = Path(__file__).parent / "backends"
_STAMP = ".sensorium-stamp"
_PATH_FILE = "sensorium.pth"
_SMOKE_TEST = "import av, magika, media, numpy, onnxruntime, PIL, resvg_py, tokenizers"


def install(settings: Settings) -> bool:
    """Bring environment and tree up to date. True when something was built, False when all was there.

    Raises:
        InstallError: with what to do about it.
    """
    if sys.version_info[:2] != (3, 11):
        raise InstallError(f"needs Python 3.11, this is {sys.version.split()[0]}")
    library = python_library()
    built = False
    if not _is_current(settings.environment, _environment_inputs()):
        _build_environment(settings)
        built = True
    if not _is_current(settings.tree, _tree_inputs(library)):
        wheel = fetch_wheel(settings.cache, settings.install_timeout_s)
        unpack_server(wheel, settings.tree, f"{sys.version_info.major}.{sys.version_info.minor}")
        for backend in sorted(path for path in _BACKENDS.iterdir() if (path / "model.py").is_file()):
            (settings.tree / "backends" / backend.name).symlink_to(backend)
        (settings.tree / "lib" / library.name).symlink_to(library)
        _write_stamp(settings.tree, _tree_inputs(library))
        built = True
    return built


def check_installed(settings: Settings) -> None:
    """Raise InstallError unless `install` has completed for the present inputs."""
    library = python_library()
    for place, inputs in (
        (settings.environment, _environment_inputs()),
        (settings.tree, _tree_inputs(library)),
    ):
        if not _is_current(place, inputs):
            raise InstallError(
                f"{place} is missing or out of date: run `make triton` (python -m serving install)"
            )


def _environment_inputs() -> dict[str, str]:
    return {
        "requirements": hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest(),
        "python": sys.version,
        "prefix": sys.base_prefix,
        "root": str(ROOT),
    }


def _tree_inputs(library: Path) -> dict[str, str]:
    backends = sorted(str(path) for path in _BACKENDS.glob("*/model.py"))
    return {"wheel": SHA256, "library": str(library), "backends": os.pathsep.join(backends)}


def _build_environment(settings: Settings) -> None:
    place = settings.environment
    settings.run.mkdir(parents=True, exist_ok=True)
    # The base interpreter: an environment made from an environment would inherit nothing but confusion.
    base = getattr(sys, "_base_executable", sys.executable)
    (place / _STAMP).unlink(missing_ok=True)
    _command([base, "-m", "venv", "--clear", str(place)], 120, "cannot make the environment")
    # Isolated, as the stub will be: what PYTHONPATH offers must not count as installed.
    python = [str(place / "bin" / "python"), "-I"]
    pip = [*python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    pip += ["--only-binary=:all:", "--requirement", str(_REQUIREMENTS)]
    pins = sum(1 for line in _REQUIREMENTS.read_text().splitlines() if "==" in line)
    progress = [sys.executable, str(ROOT / "scripts" / "pip_progress.py"), "server environment", str(pins)]
    progress += [str(settings.run / "pip-triton.log"), *pip]
    _command(progress, settings.install_timeout_s, "cannot fill the environment", show=True)
    # The stub starts Python in isolated mode, where PYTHONPATH counts for nothing: a path file does.
    packages = place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / _PATH_FILE).write_text(f"{ROOT}\n", encoding="utf-8")
    _command([*python, "-c", _SMOKE_TEST], 120, "the environment does not work")
    _write_stamp(place, _environment_inputs())


def _command(command: Sequence[str], timeout_s: float, problem: str, *, show: bool = False) -> None:
    quiet = None if show else subprocess.PIPE
    try:
        # A session of its own, so that a deadline or Ctrl-C ends what the command started, too.
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet, text=True, start_new_session=True)
    except OSError as error:
        raise InstallError(f"{problem}: {error}") from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{problem}: not done within {timeout_s:g} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        lines = " ".join(((output or "") + (errors or "")).split())[-300:]
        raise InstallError(f"{problem}: exit code {process.returncode}. {lines}".rstrip())


def _is_current(place: Path, inputs: dict[str, str]) -> bool:
    try:
        found: object = json.loads((place / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found == inputs


def _write_stamp(place: Path, inputs: dict[str, str]) -> None:
    partial = place / f"{_STAMP}.partial"
    partial.write_text(json.dumps(inputs, indent=1), encoding="utf-8")
    partial.replace(place / _STAMP)
