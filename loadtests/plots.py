"""The report as PNG plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.figures import PERCENTILES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

BLUE, RED, DARK, ORANGE, GREEN, GREY = "#4c78a8", "#e45756", "#333333", "#f58518", "#54a24b", "#bab0ac"
SHADES = dict(zip(PERCENTILES, (GREEN, BLUE, ORANGE, RED), strict=True))
MODALITIES = {"text": BLUE, "image": GREEN, "audio": ORANGE, "video": RED}

Figures = Mapping[str, Any]


def plot(report: Figures, stem: Path) -> list[Path]:
    """Write `<stem>-steps.png`, `<stem>-spike.png` and `<stem>-soak.png`, those that were played."""
    import matplotlib as mpl

    mpl.use("Agg")
    scenarios = report["scenarios"]
    written = []
    for name, draw in (("steps", _steps), ("spike", _spike), ("soak", _soak)):
        if name in scenarios:
            path = stem.with_name(f"{stem.name}-{name}.png")
            draw(scenarios, path)
            written.append(path)
    return written


def _steps(scenarios: Figures, path: Path) -> None:
    """Left: percentiles of latency over the offered rate; right: what became of it."""
    from matplotlib import pyplot as plt

    steps, overload = scenarios["steps"], scenarios.get("overload")
    rows = steps["steps"]
    offered = [step["offered_per_s"] for step in rows]
    order = sorted(range(len(rows)), key=offered.__getitem__)
    rows, offered = [rows[place] for place in order], sorted(offered)
    figure, (late, much) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for name, colour in SHADES.items():
        late.plot(
            offered, [step["latency_ms"]["all"][name] for step in rows], "o-", color=colour, label=name, ms=4
        )
    late.axhline(steps["bound_ms"], color=GREY, linestyle="--", label=f"bound {steps['bound_ms']:.0f} ms")
    late.set(yscale="log", ylabel="latency from when it was due, ms", title="Latency of what was admitted")
    much.plot(offered, offered, color=GREY, linestyle="--", label="offered")
    much.plot(offered, [step["goodput_per_s"] for step in rows], "o-", color=BLUE, label="goodput", ms=4)
    much.plot(
        offered,
        [(step["rejected"] + step["unsent"]) / step["duration_s"] for step in rows],
        "o-",
        color=ORANGE,
        label="rejected",
        ms=4,
    )
    if overload:
        much.plot(
            overload["offered_per_s"], overload["goodput_per_s"], "D", color=DARK, label="goodput, overload"
        )
    much.set(ylabel="per second", title=f"Answered within {steps['bound_ms']:.0f} ms", ylim=(0, None))
    for axes in (late, much):
        if steps["saturation_per_s"]:
            axes.axvline(steps["saturation_per_s"], color=DARK, linestyle=":", label="saturation")
        axes.set(xlabel="offered, requests per second", xlim=(0, None))
        _finish(axes)
    _milliseconds(late)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _spike(scenarios: Figures, path: Path) -> None:
    """Above: latency over time; below: what became of each second's requests."""
    from matplotlib import pyplot as plt

    spike = scenarios["spike"]
    seconds = spike["timeline"]
    at = [second["at_s"] for second in seconds]
    middle = [each + 0.5 for each in at]
    figure, (late, much) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    for name in ("p50", "p95"):
        some = [
            (x, row["latency_ms"][name])
            for x, row in zip(middle, seconds, strict=True)
            if row["latency_ms"]["n"]
        ]
        late.plot(*zip(*some, strict=True), "o-", color=SHADES[name], label=name, ms=3)
    late.set(yscale="log", ylabel="latency, ms", title="Spike: by the second in which requests were due")
    floor = [0] * len(at)
    for count, colour in (
        ("good", GREEN),
        ("late", GREY),
        ("rejected", ORANGE),
        ("failed", RED),
        ("unsent", DARK),
    ):
        height = [_count(second, count) for second in seconds]
        if any(height):
            much.bar(at, height, bottom=floor, width=1.0, align="edge", color=colour, label=count)
        floor = [below + own for below, own in zip(floor, height, strict=True)]
    much.set(xlabel="seconds", ylabel="requests", xlim=(0, at[-1] + 1))
    for axes in (late, much):
        axes.axvspan(*spike["spike_s"], color=RED, alpha=0.08, linewidth=0)
        _finish(axes)
    _milliseconds(late)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _count(second: Figures, what: str) -> int:
    if what == "late":  # answered, but not within the bound
        return int(second["offered"] - sum(second[each] for each in ("good", "rejected", "failed", "unsent")))
    return int(second[what])


def _soak(scenarios: Figures, path: Path) -> None:
    """Left: the share of requests that took longer, by modality; right: memory over time."""
    from matplotlib import pyplot as plt

    soak = scenarios["soak"]
    figure, (late, held) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    names = [name for name in MODALITIES if soak["latency_ms"].get(name, {}).get("n")]
    width = 0.8 / len(PERCENTILES)
    for place, (quantile, colour) in enumerate(SHADES.items()):
        heights = [soak["latency_ms"][name][quantile] for name in names]
        late.bar([x + place * width for x in range(len(names))], heights, width, color=colour, label=quantile)
    late.set_xticks([x + 1.5 * width for x in range(len(names))])
    late.set_xticklabels([f"{name}\nn={soak['latency_ms'][name]['n']}" for name in names])
    late.set(yscale="log", ylabel="latency, ms", title=f"Soak at {soak['rate']:.1f}/s, by modality")
    rows = soak["memory"]["timeline"]
    for name, colour in zip(soak["memory"]["start_mib"], MODALITIES.values(), strict=False):
        own = [(row["at_s"], row["mib"][name]) for row in rows if name in row["mib"]]
        held.plot(*zip(*own, strict=True), "o-", color=colour, label=name, ms=3)
    held.set(xlabel="seconds", ylabel="MiB", title="Memory of the processes", ylim=(0, None))
    for axes in (late, held):
        if axes.has_data() and axes.get_legend_handles_labels()[0]:
            _finish(axes)
    _milliseconds(late)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _milliseconds(axes: Axes) -> None:
    """Plain numbers in place of powers of ten, also between two of them."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
