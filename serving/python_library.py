"""Finds the shared Python library that Triton's Python stub is linked with."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from serving.errors import PythonLibraryError

__all__ = ["python_library"]


def python_library() -> Path:
    """libpython3.X.so.1.0 of the running interpreter's version.

    The interpreter's own library comes first (pyenv and others keep it out of the loader's path), so that
    stub and standard library are of one build; then whatever the loader would find.

    Raises:
        PythonLibraryError: there is none; the message says how to get it.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"libpython{version}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR"), str(Path(sys.base_prefix) / "lib")]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        folders += [f"/usr/lib/{multiarch}", f"/lib/{multiarch}"]
    for folder in filter(None, folders):
        path = Path(folder) / name
        if path.is_file():
            return path
    # The loader's cache, asked through ldconfig; ctypes gives only the name.
    if ctypes.util.find_library(f"python{version}"):
        for line in _loader_cache():
            if line.strip().startswith(f"{name} "):
                path = Path(line.rsplit("=> ", 1)[-1].strip())
                if path.is_file():
                    return path
    raise PythonLibraryError(
        f"{name} is not here, and Triton's Python backend needs it. Debian and Ubuntu: apt-get install "
        f"libpython{version}. pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {version}."
    )


def _loader_cache() -> list[str]:
    path = os.pathsep.join(["/sbin", "/usr/sbin", os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            ["ldconfig", "-p"], capture_output=True, text=True, timeout=10, check=False, env={"PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
