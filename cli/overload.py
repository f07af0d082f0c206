"""`make overload`: kept answers asked for at up to twice the rate that the server can give, by a client in C.

python -m cli.overload [--rounds 3] [--seconds 6] [--out reports]

The client of `make loadtest` is Python and takes a core: on two of them it is late before the server is. One
text is asked again and again, so that each answer comes from the cache and none needs a place of admission.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import Open, run_http_load, run_load, run_open_http_load, run_open_load
from benchmarks.machine import describe
from cli.catalogues import demo_manifest
from cli.failures import exit_code
from cli.measure import indexed
from cli.stack import Stack
from orchestrator.settings import load_settings
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["overload"]

TEXT = "a red apple"
METHOD = "/sensorium.v1.Sensorium/Search"
BOUND_S = 1.0
AT_ONCE = 64
TIMES = (0.5, 1.0, 2.0)
"""Of what one closed loop with AT_ONCE under way gets."""

PAUSE_S = 2.0
"""What is still under way ends in it, and does not count against what follows."""

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Face:
    """How it is asked in a closed loop for some seconds, and at a rate."""

    name: str
    closed: Callable[[int], float]
    at_rate: Callable[[float, int], Open]


def overload(rounds: int, seconds: int, out: Path) -> int:
    """Raises: LoadError."""
    home = load_settings().home.absolute()
    rows: list[dict[str, Any]] = []
    with indexed(home / "measure" / "lite", home, demo_manifest(home), {}) as stack:
        for number in range(rounds):
            for face in _faces(stack):
                capacity = face.closed(seconds)
                for times in TIMES:
                    console.print(f"round {number + 1}: {face.name}, {times:g} x {capacity:.0f}/s")
                    rows.append(_row(stack, face, number, times, capacity, seconds))
    report = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{describe()}; client (h2load) and server share it",
        "rounds": rounds,
        "seconds": seconds,
        "bound_ms": BOUND_S * 1000,
        "rows": rows,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "overload.json").write_text(json.dumps(report, indent=1), "utf-8")
    _show(rows)
    return 0


def _faces(stack: Stack) -> tuple[Face, Face]:
    request = pb.SearchRequest(parts=[pb.QueryPart(text=TEXT)], limit=10)
    body = json.dumps({"parts": [{"text": TEXT}], "limit": 10}).encode()
    url = f"{stack.page}/v1/search"
    return (
        Face(
            "gRPC",
            lambda seconds: run_load(stack.target, METHOD, request, AT_ONCE, seconds).per_second,
            lambda rate, seconds: run_open_load(stack.target, METHOD, request, rate, seconds, BOUND_S),
        ),
        Face(
            "REST",
            lambda seconds: run_http_load(url, body, AT_ONCE, seconds).per_second,
            lambda rate, seconds: run_open_http_load(url, body, rate, seconds, BOUND_S),
        ),
    )


def _row(
    stack: Stack, face: Face, number: int, times: float, capacity: float, seconds: int
) -> dict[str, Any]:
    before = _outcomes(stack.page)
    found = face.at_rate(times * capacity, seconds)
    time.sleep(PAUSE_S)
    after = _outcomes(stack.page)
    refused = sum(after[name] - before.get(name, 0.0) for name in after if name != "ok") / seconds
    return {
        "face": face.name,
        "round": number,
        "times": times,
        "capacity_per_s": capacity,
        "offered_per_s": times * capacity,
        # A refusal over gRPC has HTTP status 200: h2load cannot tell it from an answer.
        "good_per_s": found.answered_per_s - (refused if face.name == "gRPC" else 0.0),
        "refused_per_s": refused,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
    }


def _outcomes(page: str) -> dict[str, float]:
    """How many searches ended in which way so far."""
    with urllib.request.urlopen(f"{page}/metrics", timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    found: dict[str, float] = {}
    for outcome, count in re.findall(
        r'^sensorium_requests_total\{.*outcome="(\S+)"\} (\S+)', text, re.MULTILINE
    ):
        found[outcome] = found.get(outcome, 0.0) + float(count)
    return found


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("face", "offered", "good /s", "of the peak", "refused /s", "p50 ms", "p99 ms")
    for face in dict.fromkeys(row["face"] for row in rows):
        mine = [row for row in rows if row["face"] == face]
        good = {
            times: statistics.median(r["good_per_s"] for r in mine if r["times"] == times) for times in TIMES
        }
        for times in TIMES:
            at = [row for row in mine if row["times"] == times]
            medians = [statistics.median(r[key] for r in at) for key in ("refused_per_s", "p50_ms", "p99_ms")]
            offered = statistics.median(row["offered_per_s"] for row in at)
            share = good[times] / max(good.values())
            table.add_row(
                face,
                f"{times:g} x, {offered:.0f}/s",
                f"{good[times]:.0f}",
                f"{share:.0%}",
                *(f"{each:.0f}" for each in medians),
            )
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cli.overload", description="Kept answers beyond saturation."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("reports"))
    arguments = parser.parse_args()
    return exit_code(lambda: overload(arguments.rounds, arguments.seconds, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
