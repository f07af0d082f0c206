"""Runs pip and shows one progress bar instead of a line per package. Standard library only: it runs first.

usage: pip_progress.py LABEL EXPECTED LOG pip-command...

EXPECTED is the number of packages that the bar counts to; pip's whole output goes to LOG, whose tail is shown
when pip fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

WIDTH = 30
NAMED = re.compile(r"^(?:Collecting|Processing|Obtaining) ([^\s;=<>!~\[]+)")


def main() -> int:
    label, expected, log_path, *command = sys.argv[1:]
    total = max(1, int(expected))
    live = sys.stderr.isatty()
    seen: set[str] = set()
    started = time.monotonic()
    log = Path(log_path)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            out.write(line)
            if found := NAMED.match(line):
                seen.add(found[1].lower())
                note = found[1]
            elif line.startswith("Installing collected"):
                note = "unpacking"
            else:
                continue
            if live:
                show(label, min(len(seen), total), total, note, started, end="\r")
    show(label, min(len(seen), total), total, "done" if pip.returncode == 0 else "failed", started, end="\n")
    if pip.returncode:
        sys.stderr.write("\n".join(log.read_text().splitlines()[-20:]) + f"\n(the whole output: {log})\n")
    return pip.returncode


def show(label: str, done: int, total: int, note: str, started: float, end: str) -> None:
    filled = WIDTH if note == "done" else WIDTH * done // total
    bar = "#" * filled + "." * (WIDTH - filled)
    sys.stderr.write(f"\x1b[2K{label:<22} [{bar}] {time.monotonic() - started:5.0f} s  {note[:30]}{end}")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
