"""Two evaluations against each other, query by query: paired bootstrap (Efron and Tibshirani 1993; for
retrieval, Smucker, Allan and Carterette 2007)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from evaluation.metrics import interval

__all__ = ["compare", "comparison_table"]

PER_QUERY = "per_query"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Set -> measure -> means of both, `difference` (after - before) with its 95 % interval, `queries` in
    common, and whether the interval `excludes_zero`. Sets and queries that only one of them has are left out.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    others = dict(_sets(after))
    for name, values in _sets(before):
        common = [query for query in values if query in others.get(name, {})]
        if not common:
            continue
        measures = [measure for measure in values[common[0]] if measure in others[name][common[0]]]
        found[name] = {}
        for measure in measures:
            old = np.array([values[query][measure] for query in common])
            new = np.array([others[name][query][measure] for query in common])
            low, high = interval((new - old).tolist())
            found[name][measure] = {
                "before": float(old.mean()),
                "after": float(new.mean()),
                "difference": float((new - old).mean()),
                "difference_ci95": [low, high],
                "excludes_zero": low > 0 or high < 0,
                "queries": len(common),
            }
    return found


def comparison_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]], measure: str = "ndcg@10") -> str:
    """A row a set; `measure` where the set has it, else its first one."""
    lines = [
        "| set | measure | queries | before | after | difference | 95 % | excludes zero |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for name, measures in found.items():
        shown = measure if measure in measures else next(iter(measures))
        row = measures[shown]
        low, high = row["difference_ci95"]
        certain = "yes" if row["excludes_zero"] else "no"
        lines.append(
            f"| {name} | {shown} | {row['queries']} | {row['before']:.3f} | {row['after']:.3f} "
            f"| {row['difference']:+.3f} | {low:+.3f} to {high:+.3f} | {certain} |"
        )
    return "\n".join(lines) + "\n"


def _sets(report: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every set of queries in a report, by its path."""
    for key, value in report.items():
        if key == PER_QUERY:
            yield " / ".join(path), value
        elif isinstance(value, dict):
            yield from _sets(value, (*path, key))
