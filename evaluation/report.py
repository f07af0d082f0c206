"""Writing reports: JSON that later commands add to, with its tables and plots beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.client import EvaluationError
from evaluation.plots import plot
from evaluation.tables import markdown

__all__ = ["read_report", "write_report"]


def read_report(path: Path) -> dict[str, Any]:
    """Raises EvaluationError when the file is not a report."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error
    if not isinstance(report, dict):
        raise EvaluationError(f"{path} is no report")
    return report


def write_report(
    sections: Mapping[str, Any], out: Path, add: bool = False
) -> tuple[dict[str, Any], list[Path]]:
    """Write `out` (JSON), and beside it the same name as .md and plots; returns the report and the paths.

    With `add` other sections that `out` has stay as they are.

    Raises:
        EvaluationError: with `add`, `out` is there and no report.
    """
    report = read_report(out) if add and out.is_file() else {}
    report |= sections
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    table = out.with_suffix(".md")
    table.write_text(markdown(report), encoding="utf-8")
    return report, [out, table, *plot(report, out)]
