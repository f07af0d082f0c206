"""Drives `benchmarks.inprocess` workers: one process per model file, asked for a burst at a time."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

__all__ = ["InProcess"]

ROOT = Path(__file__).parent.parent


class InProcess:
    """A worker that holds one encoder in memory. It idles, without spinning, between bursts."""

    def __init__(self, python: Path, modality: str, model: Path, payload: bytes) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(payload)
        self._payload = Path(file.name)
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.inprocess", modality, str(model), file.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> InProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._payload.unlink(missing_ok=True)

    def burst(self, batch: int, seconds: float) -> dict[str, float]:
        """Inputs per second at this batch size. Raises RuntimeError when the worker ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{batch} {seconds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the in-process worker ended with code {self._process.wait()}")
        figures: dict[str, float] = json.loads(line)
        return figures
