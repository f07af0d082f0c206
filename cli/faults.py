"""`make faults`: a system of its own under steady load, harmed in one way after the other.

python -m cli.faults [--only NAME,...] [--rate 4] [--catalogue manifest.jsonl] [--out reports]

What the load sees is measured by `loadtests.faults`, in a process of its own and by the public API alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from cli import processes
from cli.failures import exit_code
from cli.fault_kinds import FAULTS, Fault, FaultError, Patient, no_room, small_disk
from cli.measure import indexed
from cli.redis_server import RedisServer, RedisServerError
from cli.stack import Stack
from orchestrator.settings import load_settings

__all__ = ["faults"]

console = Console(stderr=True)
REPOSITORY = Path("model_repository").absolute()
POOL = 5
"""Queries of each modality: few, so that each is asked often."""
ITEMS = 60
UNCACHED = {"SENSORIUM_CACHE__MAX_BYTES": "0", "SENSORIUM_CACHE__ANSWERS_MAX_BYTES": "0"}
STOP = "stop"
HUNG_S = 3.0
CLOSING_S = 10.0
"""What closing may take once all is drained: Milvus Lite writes out, threads end."""
STOP_WATCHED_S = 60.0
WITH_REDIS = "redis"


def faults(names: Sequence[str], rate: float, catalogue: Path | None, out: Path) -> int:
    """0 when no answer was wrong, nothing was lost and all recovered. `catalogue` is a manifest, a generated
    one by default."""
    home = load_settings().home.absolute()
    manifest = catalogue or _generated(home)
    began_s = time.monotonic()
    report: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{describe()}; client and server share it",
        "rate": rate,
        "rows": [],
        "skipped": {},
    }
    try:
        with tempfile.TemporaryDirectory(prefix="sensorium-faults-") as folder:
            _run(names, rate, Path(folder), home, manifest, report)
    finally:  # also what was measured before it ended early
        report["seconds"] = round(time.monotonic() - began_s, 1)
        out.mkdir(parents=True, exist_ok=True)
        (out / "faults.json").write_text(json.dumps(report, indent=1), "utf-8")
        _show(report)
    return 0 if _held(report) else 1


def _run(
    names: Sequence[str], rate: float, work: Path, home: Path, manifest: Path, report: dict[str, Any]
) -> None:
    payloads = _payloads(work, home, manifest)
    plain = [fault for fault in FAULTS if fault.name in names and fault.name != WITH_REDIS]
    if plain or STOP in names:
        with _system(work, home, manifest, UNCACHED, report) as patient:
            _play(plain, patient, payloads, rate, report)
            if STOP in names:
                report["stop"] = _stop(patient, payloads, rate)
    if WITH_REDIS in names:
        redis = [fault for fault in FAULTS if fault.name == WITH_REDIS]
        try:
            with RedisServer(home / "cache", work) as server:
                extra = {"SENSORIUM_CACHE__REDIS_URL": server.url}
                with _system(work, home, manifest, extra, report, server) as patient:
                    _play(redis, patient, payloads, rate, report)
        except RedisServerError as error:
            report["skipped"][WITH_REDIS] = str(error)


def _generated(home: Path) -> Path:
    """The manifest of a generated catalogue, made once. Raises FaultError."""
    folder = home / "catalogues" / "faults"
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        arguments = ("generate", "--items", str(ITEMS), "--seed", "0", "--out", str(folder))
        if subprocess.run(processes.python("-m", "catalogue", *arguments), check=False).returncode:
            raise FaultError("the catalogue could not be generated")
    return manifest


def _payloads(work: Path, home: Path, manifest: Path) -> Path:
    """Queries of the catalogue. Raises FaultError."""
    payloads = work / "payloads"
    command = processes.python("-m", "loadtests.prepare", "--catalogue", str(manifest))
    command += ["--out", str(payloads), "--pool", str(POOL)]
    environ = {**os.environ, "SENSORIUM_HOME": str(home)}
    with console.status("making queries"):
        if subprocess.run(command, check=False, env=environ).returncode:
            raise FaultError("the queries could not be made")
    return payloads


@contextlib.contextmanager
def _system(
    work: Path,
    home: Path,
    manifest: Path,
    extra: Mapping[str, str],
    report: dict[str, Any],
    redis: RedisServer | None = None,
) -> Iterator[Patient]:
    """A running system with the catalogue in it, on a small disk where that can be had."""
    folder = work / ("cached" if redis else "plain")
    repository = folder / "model_repository"
    shutil.copytree(REPOSITORY, repository, symlinks=True, copy_function=_linked)
    disk = folder / "data" / "milvus"
    with contextlib.ExitStack() as held:
        reason = no_room()
        try:
            if reason is None:
                held.enter_context(small_disk(disk))
        except FaultError as error:
            reason = str(error)
        if reason:
            report["skipped"]["disk-full"] = reason
        settings = {**extra, "SENSORIUM_MODEL_REPOSITORY": str(repository)}
        stack = held.enter_context(indexed(folder, home, manifest, settings))
        yield Patient(
            stack, repository, None if reason else disk, (redis.kill, redis.start) if redis else None
        )


def _linked(source: str, target: str) -> None:
    """As a copy of a large file that nobody writes to."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _play(
    chosen: Sequence[Fault], patient: Patient, payloads: Path, rate: float, report: dict[str, Any]
) -> None:
    """Makes the faults, adding a row of each to the report."""
    if not chosen:
        return
    with _watcher(patient.stack, payloads, rate) as (watcher, spread):
        report["spread"] = max(spread, report.get("spread", 0.0))
        for fault in chosen:
            if fault.name in report["skipped"]:
                continue
            console.print(f"fault: {fault.what}")
            _tell(watcher, f"begin {fault.name}{' deaf' if fault.deaf else ''}")
            _heard(watcher, "watching")
            fault.harm(patient)
            _tell(watcher, "end")
            report["rows"].append({"what": fault.what, **_heard(watcher, "fault")})
        _tell(watcher, "quit")


def _stop(patient: Patient, payloads: Path, rate: float) -> dict[str, Any]:
    """SIGTERM to the orchestrator under load, with clients that never read and a Triton that hangs."""
    stack = patient.stack
    record = processes.read_record("orchestrator", stack.settings.home / "run")
    process = record.process() if record else None
    if process is None:
        raise FaultError("the orchestrator does not run")
    console.print("fault: SIGTERM under load, with a Triton that hangs and clients that never read")
    with _watcher(stack, payloads, rate) as (watcher, _):
        _tell(watcher, "begin stop deaf")
        _heard(watcher, "watching")
        pid = patient.triton_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(HUNG_S)
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ended, _ = psutil.wait_procs([process], timeout=STOP_WATCHED_S)
            took_s = time.monotonic() - began_s
        finally:
            with contextlib.suppress(ProcessLookupError):  # the supervisor may have ended it
                os.kill(pid, signal.SIGCONT)
    return {
        "drain_s": stack.settings.api.drain_s,
        "took_s": round(took_s, 2) if ended else None,
        "bound_s": stack.settings.api.drain_s + CLOSING_S,
    }


@contextlib.contextmanager
def _watcher(stack: Stack, payloads: Path, rate: float) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A process of `loadtests.faults` that is ready, and how far scores lie apart without any fault."""
    command = processes.python("-m", "loadtests.faults", "--grpc-target", stack.target, "--host", stack.page)
    command += ["--payloads", str(payloads), "--rate", str(rate)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield watcher, float(_heard(watcher, "ready")["spread"])
    finally:
        watcher.terminate()
        watcher.wait(timeout=30)
        for pipe in (watcher.stdin, watcher.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _tell(watcher: subprocess.Popen[str], line: str) -> None:
    assert watcher.stdin is not None
    watcher.stdin.write(f"{line}\n")
    watcher.stdin.flush()


def _heard(watcher: subprocess.Popen[str], key: str) -> dict[str, Any]:
    """What it says next, which is about `key`. Raises FaultError."""
    assert watcher.stdout is not None
    said = watcher.stdout.readline()
    found: dict[str, Any] = json.loads(said) if said else {}
    if key not in found:
        raise FaultError("the load ended before its time")
    return found


def _held(report: Mapping[str, Any]) -> bool:
    rows, stop = report["rows"], report.get("stop")
    stopped = stop is None or (stop["took_s"] is not None and stop["took_s"] <= stop["bound_s"])
    return stopped and all(
        row["recover_s"] is not None and not (row["wrong"] or row["lost"] or row["rows_lost"]) for row in rows
    )


def _show(report: Mapping[str, Any]) -> None:
    names = ("detect s", "breaker s", "recover s", "requests", "failed", "degraded", "wrong", "lost")
    table = Table("fault", *names)
    for row in report["rows"]:
        values = [row["detect_s"], row["breaker_s"], row["recover_s"], row["requests"]]
        values += [
            row["failed"] + row["rejected"] + row["unsent"],
            row["degraded"],
            row["wrong"],
            row["lost"],
        ]
        table.add_row(row["what"], *("-" if value is None else str(value) for value in values))
    console.print(table)
    if stop := report.get("stop"):
        took = "not at all" if stop["took_s"] is None else f"after {stop['took_s']} s"
        console.print(f"SIGTERM: ended {took}; the bound is {stop['bound_s']:g} s")
    for name, reason in report["skipped"].items():
        console.print(f"skipped {name}: {reason}")


def main() -> int:
    known = [*(fault.name for fault in FAULTS), STOP]
    parser = argparse.ArgumentParser(prog="python -m cli.faults", description="Faults under load.")
    parser.add_argument("--only", default=",".join(known), metavar="NAME,...", help="of " + ", ".join(known))
    parser.add_argument("--rate", type=float, default=4.0, help="searches a second")
    parser.add_argument("--catalogue", type=Path, help="manifest.jsonl in place of a generated one")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no fault {', '.join(unknown)}")
    return exit_code(lambda: faults(names, arguments.rate, arguments.catalogue, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
