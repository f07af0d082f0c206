"""Which catalogue the demo works on: the stamps, or the generated one where they cannot be had.

python -m cli.catalogues      # what `make catalogue` runs
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from cli import processes
from orchestrator.settings import load_settings

__all__ = ["demo_manifest"]

GENERATED_ITEMS = 200


def demo_manifest(home: Path) -> Path:
    """The manifest that is there: the stamps before the generated catalogue. Raises FileNotFoundError."""
    for name in ("stamps", "generated"):
        manifest = home / "catalogues" / name / "manifest.jsonl"
        if manifest.is_file():
            return manifest
    raise FileNotFoundError("no catalogue yet: run `make catalogue`")


def main() -> int:
    home = load_settings().home.absolute()
    console = Console(stderr=True)
    if (home / "catalogues" / "stamps" / "manifest.jsonl").is_file():
        return 0
    fetched = subprocess.run(processes.python("-m", "catalogue", "stamps"), check=False)
    if fetched.returncode == 0:
        return 0
    console.print("[yellow]The stamps cannot be had here (see above): using the generated catalogue instead.")
    out = home / "catalogues" / "generated"
    if (out / "manifest.jsonl").is_file():
        return 0
    arguments = ("generate", "--items", str(GENERATED_ITEMS), "--seed", "0", "--out", str(out))
    return subprocess.run(processes.python("-m", "catalogue", *arguments), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
