"""Draws where a search spends its time, for docs/performance.md: `make flame-picture`.

It needs root, as py-spy does.
A scratch system with the stamps answers searches one after the other, by modality as `make loadtest` has
them, while py-spy samples the orchestrator, Milvus Lite and Triton's Python steps. Each column is one
process, as wide as the processor time that it used; within it, samples in which a thread waited are left out.
Triton's own threads are one box: they are C++, which py-spy does not read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import grpc
import matplotlib
import psutil
from rich.console import Console

from benchmarks.payloads import Payloads, choose
from benchmarks.searches import CALL_TIMEOUT_S, search_request
from cli.catalogues import demo_manifest
from cli.measure import NO_CACHE, indexed
from media import Modality
from orchestrator.settings import load_settings
from sensorium.v1 import sensorium_pb2_grpc as rpc

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RATE_HZ = 200
TURNS = ["text", "image", "text", "image", "text", "audio", "text", "image", "text", "image", "text", "video"]
# Frames in which a thread of a pool, or an event loop, waits for work though the kernel counts it as running.
IDLE = (
    "_worker (concurrent/futures",
    "Thread.run (threading.py",
    "Condition.wait (threading.py",
    "EpollSelector.select (",
    "ThreadedChildWatcher._do_waitpid (",
    "_serve (grpc/",
    "main (orchestrator/clients/milvus_lite_main.py",
)
OUTSIDE = ("asyncio/", "threading.py", "runpy", "concurrent/futures", "cli/server.py")
LEAST = 0.004
"""Frames narrower than this share of the whole are not drawn."""

console = Console(stderr=True)


@dataclass
class Frame:
    """A function, its samples and what it called."""

    samples: float = 0.0
    calls: dict[str, Frame] = field(default_factory=lambda: defaultdict(Frame))


def processes(home: Path) -> dict[int, str]:
    """Pid -> name of the Python processes of the system in `home`."""
    found = {}
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = process.info["cmdline"] or []
        line = " ".join(command)
        if "milvus_lite_main" in line and str(home) in line:
            found[process.pid] = "Milvus Lite"
        elif "cli.server" in line and (process.info["environ"] or {}).get("SENSORIUM_HOME") == str(home):
            found[process.pid] = "orchestrator"
        elif "bin/tritonserver" in line and command[0].endswith("tritonserver") and str(home) in line:
            found[process.pid] = "tritonserver"
        elif command and "python_backend_stub" in command[0] and str(home) in line:
            found[process.pid] = Path(command[1]).parts[-3]
    return found


def used_s(pid: int) -> float:
    """Processor time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def load(target: str, payloads: Payloads, seconds: float) -> Counter[str]:
    """Searches one after the other; how many of each modality."""
    asked: Counter[str] = Counter()
    end_s = time.monotonic() + seconds
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        for modality in cycle(TURNS):
            stub.Search(search_request(modality, payloads.of(Modality(modality))), timeout=CALL_TIMEOUT_S)
            asked[modality] += 1
            if time.monotonic() > end_s:
                return asked
    raise AssertionError("a cycle does not end")


def read(path: Path) -> Frame:
    """py-spy's folded stacks of one process, without waiting and without what starts threads and loops."""
    root = Frame()
    for line in path.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not stack or frames[-1].startswith(IDLE):
            continue
        at = root
        at.samples += int(count)
        for frame in frames:
            name, _, where = frame.rpartition(":")[0].partition(" (")
            name = f"{name.removeprefix('TritonPythonModel.')} ({where.rpartition('/')[2]})"
            if not any(outside in frame for outside in OUTSIDE):
                at = at.calls[name]
                at.samples += int(count)
    return root


def scaled(frame: Frame, factor: float) -> Frame:
    """Samples as seconds."""
    calls = {name: scaled(called, factor) for name, called in frame.calls.items()}
    return Frame(frame.samples * factor, defaultdict(Frame, calls))


def deepest(frames: dict[str, Frame], total: float) -> int:
    """How many levels are wide enough to be drawn below the first."""
    drawn = [frame for frame in frames.values() if frame.samples / total >= LEAST]
    return max((1 + deepest(frame.calls, total) for frame in drawn if frame.calls), default=0)


def draw(roots: dict[str, Frame], title: str, out: Path) -> None:
    """Processes side by side, callers above what they call."""
    total = sum(root.samples for root in roots.values())
    figure, axes = plt.subplots(figsize=(18, 6))
    colours = plt.get_cmap("tab10")

    def box(frame: Frame, name: str, left: float, depth: int, colour: int) -> None:
        width = frame.samples / total
        if width < LEAST:
            return
        shade = (*colours(colour)[:3], 0.35 + 0.3 * (depth % 2))
        axes.barh(-depth, width, left=left, height=0.96, align="edge", color=shade, edgecolor="white", lw=0.4)
        letters = int(width * 260)
        if letters > 3:
            label = name if len(name) <= letters else name[: letters - 1] + "…"
            axes.text(left + 0.001, 0.46 - depth, label, va="center", fontsize=7, clip_on=True)
        for called, below in sorted(frame.calls.items(), key=lambda each: -each[1].samples):
            box(below, called, left, depth + 1, colour)
            left += below.samples / total

    left = 0.0
    for colour, (name, root) in enumerate(sorted(roots.items(), key=lambda each: -each[1].samples)):
        box(root, f"{name} {root.samples / total:.0%}", left, 0, colour % 10)
        left += root.samples / total
    axes.set_xlim(0, 1)
    axes.set_ylim(-deepest(roots, total) - 0.2, 1)
    axes.axis("off")
    axes.set_title(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw where a search spends its time.")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--out", type=Path, default=Path("docs/images/flame.png"))
    arguments = parser.parse_args()
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    payloads = choose(manifest)
    folder = home / "measure" / "lite"
    with tempfile.TemporaryDirectory() as work, indexed(folder, home, manifest, NO_CACHE) as stack:
        load(stack.target, payloads, 3.0)
        watched = processes(folder)
        before_s = {pid: used_s(pid) for pid in watched}
        samplers = []
        for pid, name in watched.items():
            if name == "tritonserver":
                continue
            command = ["py-spy", "record", "--pid", str(pid), "--rate", str(RATE_HZ), "--format", "raw"]
            command += ["--duration", str(int(arguments.seconds)), "--output", f"{work}/{pid}.{name}"]
            samplers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        asked = load(stack.target, payloads, arguments.seconds + 1.0)
        seconds = {name: used_s(pid) - before_s[pid] for pid, name in watched.items()}
        if any(sampler.wait(30.0) for sampler in samplers):
            console.print("py-spy could not read the processes: run as root", style="red")
            return 1
        roots = {"tritonserver": Frame(seconds["tritonserver"])}
        for path in Path(work).iterdir():
            name, root = path.name.partition(".")[2], read(path)
            roots[name] = scaled(root, seconds[name] / max(root.samples, 1.0))
    said = ", ".join(f"{count} {modality}" for modality, count in asked.items())
    draw(
        roots,
        f"Processor time during {said} searches, one at a time: {sum(seconds.values()):.1f} s",
        arguments.out,
    )
    console.print(f"{arguments.out}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
