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
SHADES = {**dict(zip(PERCENTILES, (GREEN, BLUE, ORANGE, RED), strict=True)), "max": DARK}
COUNTS = {"good": GREEN, "late": GREY, "rejected": ORANGE, "failed": RED, "unsent": DARK}
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
    """Left: percentiles of latency over the rate; right: what became of it."""
    from matplotlib import pyplot as plt

    steps, overload = scenarios["steps"], scenarios.get("overload")
    rows = steps["steps"]
    rates = [step["rate"] for step in rows]
    figure, (late, much) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for name, colour in SHADES.items():
        told = [step for step in rows if _supported(step["latency_ms"]["all"], name)]
        if told:
            late.plot(
                [step["rate"] for step in told],
                [step["latency_ms"]["all"][name] for step in told],
                "o-",
                color=colour,
                label=name,
                ms=4,
            )
    late.axhline(steps["bound_ms"], color=GREY, linestyle="--", label=f"bound, {steps['bound_ms']:.0f} ms")
    late.set(yscale="log", ylabel="latency from when it was due, ms", title="Latency of what was admitted")
    everything = [*rows, overload] if overload else rows
    much.plot(
        [each["rate"] for each in everything],
        [each["offered_per_s"] for each in everything],
        color=GREY,
        linestyle="--",
        label="offered",
    )
    for label, colour, value in (
        ("rejected or unsent", ORANGE, _turned_away_per_s),
        ("goodput", BLUE, _goodput_per_s),
    ):
        much.plot(rates, [value(each) for each in rows], "o-", color=colour, label=label, ms=4)
        if overload:
            much.plot(
                overload["rate"],
                value(overload),
                "D",
                color=colour,
                label=f"{label}, overload",
                clip_on=False,
            )
    much.set(ylabel="per second", title="What became of it", ylim=(0, None))
    for axes in (late, much):
        if steps["saturation_per_s"]:
            axes.axvline(steps["saturation_per_s"], color=DARK, linestyle=":", label="saturation")
        axes.set(xlabel="rate, requests per second", xlim=(0, None))
        _finish(axes)
    _milliseconds(late)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _turned_away_per_s(step: Figures) -> float:
    return float((step["rejected"] + step["unsent"]) / step["duration_s"])


def _goodput_per_s(step: Figures) -> float:
    return float(step["goodput_per_s"])


def _spike(scenarios: Figures, path: Path) -> None:
    """Above: latency over time; below: what became of each second's requests."""
    from matplotlib import pyplot as plt

    spike = scenarios["spike"]
    seconds = spike["timeline"]
    at = [second["at_s"] for second in seconds]
    told = [second for second in seconds if second["latency_ms"]["n"]]
    figure, (late, much) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    for name, label, colour in (("p50", "median", BLUE), ("max", "slowest", RED)):
        middle = [second["at_s"] + 0.5 for second in told]
        late.plot(
            middle, [second["latency_ms"][name] for second in told], "o-", color=colour, label=label, ms=3
        )
    title = f"{spike['rate']:.1f}/s, {spike['times']:g} times as much for a while, by when requests were due"
    late.set(yscale="log", ylabel="latency, ms", title=title)
    floor = [0] * len(at)
    for count, colour in COUNTS.items():
        height = [_count(second, count) for second in seconds]
        if any(height):
            much.bar(at, height, bottom=floor, width=1.0, align="edge", color=colour, label=count)
        floor = [below + own for below, own in zip(floor, height, strict=True)]
    much.set(xlabel="seconds", ylabel="requests", xlim=(0, at[-1] + 1))
    for axes in (late, much):
        axes.axvspan(*spike["spike_s"], color=RED, alpha=0.08, linewidth=0, zorder=0)
        _finish(axes)
    _milliseconds(late)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _count(second: Figures, what: str) -> int:
    if what == "late":  # answered, but not within the bound
        return int(second["offered"] - sum(second[each] for each in ("good", "rejected", "failed", "unsent")))
    return int(second[what])


def _soak(scenarios: Figures, path: Path) -> None:
    """Left: percentiles by modality; right: memory over time, where it was read."""
    from matplotlib import pyplot as plt

    soak = scenarios["soak"]
    memory = soak["memory"]
    wide = 2 if memory["start_mib"] else 1
    figure, panels = plt.subplots(1, wide, figsize=(5.5 * wide, 4.4), layout="constrained", squeeze=False)
    late = panels[0][0]
    names = [name for name in MODALITIES if soak["latency_ms"].get(name, {}).get("n")]
    every = [(x, soak["latency_ms"][name]) for x, name in enumerate(names)]
    shown = [quantile for quantile in SHADES if any(_supported(figures, quantile) for _, figures in every)]
    width = 0.8 / max(len(shown), 1)
    for place, quantile in enumerate(shown):
        told = [(x, figures) for x, figures in every if _supported(figures, quantile)]
        late.bar(
            [x + place * width for x, _ in told],
            [figures[quantile] for _, figures in told],
            width,
            color=SHADES[quantile],
            label=quantile,
        )
    late.set_xticks([x + (len(shown) - 1) / 2 * width for x in range(len(names))])
    late.set_xticklabels([f"{name}\nn = {soak['latency_ms'][name]['n']}" for name in names])
    late.set(ylabel="latency, ms", title=f"Soak at {soak['rate']:.1f}/s for {soak['duration_s']:.0f} s")
    _finish(late)
    for name, colour in zip(memory["start_mib"], MODALITIES.values(), strict=False):
        own = [(row["at_s"], row["mib"][name]) for row in memory["timeline"] if name in row["mib"]]
        panels[0][1].plot(*zip(*own, strict=True), "o-", color=colour, label=name, ms=3)
    if memory["start_mib"]:
        panels[0][1].set(xlabel="seconds", ylabel="MiB", title="Memory of the processes", ylim=(0, None))
        _finish(panels[0][1])
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _supported(figures: Figures, quantile: str) -> bool:
    """Whether there are enough values for a percentile to be another than the largest one."""
    share = PERCENTILES.get(quantile, 0.0) / 100
    return bool(figures["n"]) and figures["n"] * (1 - share) >= 1 - 1e-9


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _milliseconds(axes: Axes) -> None:
    """Plain numbers in place of powers of ten, also between two of them."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
