"""The evaluation report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evaluation.client import EvaluationError
from evaluation.published import ALIGNMENT_PUBLISHED, PAIRS_PUBLISHED, PUBLISHED
from evaluation.speech import speech_table

__all__ = ["BEGIN", "END", "insert", "markdown"]

BEGIN, END = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"
COLUMNS = ("ndcg@5", "mrr", "p@1", "recall@100")
Report = Mapping[str, Any]


def markdown(report: Report) -> str:
    """The tables of whatever sections the report has."""
    sections = (
        ("", _told),
        ("headline", _headline),
        ("baselines", _baselines),
        ("pairs", _pairs),
        ("speech_share", _speech),
        ("speech_recognition", speech_table),
        ("attributes", _attributes),
        ("composition", _composition),
        ("diversity", _diversity),
    )
    return (
        "\n\n".join("\n".join(told(report)) for name, told in sections if not name or report.get(name)) + "\n"
    )


def insert(report: Report, document: Path) -> None:
    """Put the tables between the two marks of a document.

    Raises:
        EvaluationError: the document has not both marks, in order.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise EvaluationError(f"{document} has no {BEGIN} ... {END}")
    document.write_text(f"{before}{BEGIN}\n\n{markdown(report)}\n{END}{after}", encoding="utf-8")


def _told(report: Report) -> Iterable[str]:
    catalogue = report.get("catalogue", {})
    options = report.get("options") or {}
    asked = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in options.items())
    yield (
        f"Embedding version {report.get('embedding_version', 'unknown')}; gallery "
        f"{catalogue.get('items', 0)} items; queries of the {catalogue.get('split', 'unknown')} split"
        f"{', a quick set' if report.get('quick') else ''}; stages: {asked or 'as the server has them'}. "
        "Intervals are 95 % bootstrap over queries."
    )


def _row(name: str, figures: Mapping[str, Any], *more: str) -> str:
    low, high = figures["ndcg@10_ci95"]
    others = " | ".join(f"{figures[column]:.3f}" for column in COLUMNS)
    return (
        f"| {name} | {figures['queries']} | {figures['ndcg@10']:.3f} | {low:.3f} to {high:.3f} | {others} | "
        + " | ".join(more)
        + " |"
    )


def _median(figures: Mapping[str, Any]) -> str:
    return f"{figures['latency_ms']['total']['p50']:.0f}"


def _headline(report: Report) -> Iterable[str]:
    targets = report["targets"]["headline"]
    yield "### Query -> item"
    yield ""
    yield "| query | queries | NDCG@10 | 95 % | NDCG@5 | MRR | P@1 | recall@100 | median ms | asked of it |"
    yield "|---|---:|---:|---|---:|---:|---:|---:|---:|---|"
    for kind, figures in report["headline"].items():
        verdict = ""
        if kind in targets:
            reached = figures["ndcg@10"] >= targets[kind]
            verdict = f"{targets[kind]:.2f}: {'reached' if reached else 'MISSED'}"
        yield _row(kind, figures, _median(figures), verdict)
        for way, part in (figures.get("ways") or {}).items():
            yield _row(f"- {way}", part, "", "")
        if figures.get("held_out"):
            yield _row("- of items outside the train split", figures["held_out"], "", "")
    yield ""
    yield (
        f"The system that this one follows reports, hybrid, NDCG@10 {PUBLISHED['hybrid']:.2f}, P@1 "
        f"{PUBLISHED['p@1']:.2f} and recall@100 {PUBLISHED['recall@100']:.2f}, on other data."
    )
    yield ""
    yield from _stages(report["headline"])
    degraded = sum(figures["degraded"] for figures in report["headline"].values())
    if degraded:
        yield f"\n{degraded} of these answers were degraded: a stage failed or ran out of time."


def _stages(headline: Mapping[str, Any]) -> Iterable[str]:
    whole = ("total", "client")
    told = dict.fromkeys(stage for each in headline.values() for stage in each["latency_ms"])
    names = [name for name in told if "/" not in name and name not in whole] + list(whole)
    yield "Median milliseconds per stage:"
    yield ""
    yield f"| query | {' | '.join(names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for kind, figures in headline.items():
        times = (figures["latency_ms"].get(name, {"p50": 0.0})["p50"] for name in names)
        yield f"| {kind} | {' | '.join(f'{time:.1f}' for time in times)} |"


def _baselines(report: Report) -> Iterable[str]:
    names = [name for name, kinds in report["baselines"].items() if kinds]
    yield "### Other ways to rank, NDCG@10 of the same queries (95 % of the difference from this run)"
    yield ""
    yield f"| query | this run | {' | '.join(names)} |"
    yield f"|---|---:|{'---|' * len(names)}"
    for kind, figures in report["headline"].items():
        shown = []
        for name in names:
            found = report["baselines"][name].get(kind)
            if found:
                low, high = found["against_this_run_ci95"]
                shown.append(f"{found['ndcg@10']:.3f} ({low:+.3f} to {high:+.3f})")
            else:
                shown.append("")
        yield f"| {kind} | {figures['ndcg@10']:.3f} | {' | '.join(shown)} |"
    yield ""
    ways = ("late", "early", "cross-attention", "hybrid")
    told = ", ".join(f"{name} {PUBLISHED[name]:.2f}" for name in ways)
    yield f"The system that this one follows reports {told}, on other data."


def _pairs(report: Report) -> Iterable[str]:
    targets = report["targets"]["pairs"]
    yield "### Query modality -> item modality, the others hidden"
    yield ""
    yield (
        "| pair | queries | NDCG@10 | 95 % | NDCG@5 | MRR | P@1 | recall@100 | aligned | median ms "
        "| asked of it | published | queries are |"
    )
    yield "|---|---:|---:|---|---:|---:|---:|---:|---|---:|---|---|---|"
    for name, figures in report["pairs"].items():
        target = targets.get(name)
        verdict = f"{target:.2f}: {'reached' if figures['ndcg@10'] >= target else 'MISSED'}" if target else ""
        published = f"{PAIRS_PUBLISHED[name]:.2f}" if name in PAIRS_PUBLISHED else ""
        if name in ALIGNMENT_PUBLISHED:
            published += f" aligned {ALIGNMENT_PUBLISHED[name]:.0%}"
        aligned = ""
        if figures["alignment"]:
            low, high = figures["alignment"]["accuracy_ci95"]
            aligned = f"{figures['alignment']['accuracy']:.0%} ({low:.0%} to {high:.0%})"
        yield _row(name, figures, aligned, _median(figures), verdict, published.strip(), figures["about"])
        if figures.get("held_out"):
            yield _row("- of items outside the train split", figures["held_out"], "", "", "", "", "")
    yield ""
    yield (
        "Aligned: the item that a query was made from is the nearest of 100 candidates. Times of a query "
        "that was asked of another modality before are those of a cached embedding."
    )


def _speech(report: Report) -> Iterable[str]:
    share = report["speech_share"]
    low, high = share["ratio_ci95"]
    verdict = "reached" if share["ratio"] >= share["target"] else "MISSED"
    yield (
        f"Human speech -> image reaches {share['ratio']:.0%} of its text ({low:.0%} to {high:.0%}), asked "
        f"are {share['target']:.0%}: {verdict}."
    )
    if held_out := share["held_out"]:
        low, high = held_out["ratio_ci95"]
        yield (
            f"Of items outside the train split {held_out['ratio']:.0%} ({low:.0%} to {high:.0%}, "
            f"{held_out['queries']} recordings)."
        )


def _attributes(report: Report) -> Iterable[str]:
    figures = report["attributes"]
    low, high = figures["ndcg@10_ci95"]
    yield f"### Attributes, on {figures['items']} generated products"
    yield ""
    yield (
        f'{figures["queries"]} queries such as "a red metal cup", every asked attribute must hold: NDCG@10 '
        f"{figures['ndcg@10']:.3f} ({low:.3f} to {high:.3f}), {figures['p@10 both']:.0%} of the first ten "
        f"hold all, {figures['attainable']:.0%} could."
    )


def _composition(report: Report) -> Iterable[str]:
    yield "### Composed queries: share of the first ten"
    yield ""
    yield "| query | queries | first condition | second | both | 95 % | could | NDCG@10 | median ms |"
    yield "|---|---:|---:|---:|---:|---|---:|---:|---:|"
    for kind, figures in report["composition"].items():
        low, high = figures["p@10 both_ci95"]
        yield (
            f"| {kind} | {figures['queries']} | {figures['p@10 first']:.2f} | {figures['p@10 second']:.2f} | "
            f"{figures['p@10 both']:.2f} | {low:.2f} to {high:.2f} | {figures['attainable']:.2f} | "
            f"{figures['ndcg@10']:.3f} | {_median(figures)} |"
        )


def _diversity(report: Report) -> Iterable[str]:
    yield "### Diversity against relevance (MMR)"
    yield ""
    yield "| query | lambda | NDCG@10 | 95 % | alpha-nDCG@10 | distance |"
    yield "|---|---:|---:|---|---:|---:|"
    for figures in report["diversity"].values():
        low, high = figures["ndcg@10_ci95"]
        yield (
            f"| {figures['kind']} | {figures['lambda']:.1f} | {figures['ndcg@10']:.3f} "
            f"| {low:.3f} to {high:.3f} | {figures['alpha-ndcg@10']:.3f} | {figures['distance']:.3f} |"
        )
