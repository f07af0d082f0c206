"""Ask every set of queries of a system that has the stamps indexed, and measure the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalogue.manifest import ManifestItem, read_manifest
from catalogue.split import Split
from evaluation.alignment import nearest_share
from evaluation.asked import HEADLINE, HOLDING, PAIRS, QUICK_PAIRS, Pair, QuerySets
from evaluation.baselines import Lexical, early, fused_ranks
from evaluation.client import Answer, EvaluationError, Sensorium
from evaluation.figures import Progress, Values, answered, ask, selected, values_by_query
from evaluation.judgements import Query, Relevance
from evaluation.metrics import interval, interval_of_ratio, per_query, summary
from evaluation.published import HEADLINE_TARGETS, PAIR_TARGETS, SPEECH_SHARE
from queries.types import HasHome

__all__ = ["evaluate"]

SPOKEN, WRITTEN = "audio->image", "recorded text->image"
OF_ALL_SPLITS = ("recording", "recorded text")


@dataclass(frozen=True)
class _Asked:
    """One set, asked."""

    queries: Sequence[Query]
    answers: Mapping[str, Answer]
    relevant: Mapping[str, Sequence[str]]
    ranked: Mapping[str, Sequence[str]]
    values: Values


def evaluate(
    target: str,
    manifest: Path,
    settings: HasHome,
    progress: Progress,
    split: Split = "test",
    options: Mapping[str, bool] | None = None,
    quick: bool = False,
    release: str = "",
) -> dict[str, Any]:
    """The report. `headline[kind]`, `pairs[name]` and `baselines[name][kind]` hold means with intervals and
    the values of each query; the first two also latency per stage and how many answers were degraded.

    Raises:
        EvaluationError: the system does not answer, or holds other items than the manifest.
        CatalogueError, QueriesError: the manifest cannot be read or its queries cannot be made.
    """
    items = list(read_manifest(manifest))
    if not any(item.split == split for item in items):
        raise EvaluationError(f"{manifest} has no {split} split: relevance is measured on the stamps")
    judged = Relevance(items)
    sets = QuerySets(items, settings, split, quick)
    with Sensorium(target, options, release) as system:
        system.require([item.id for item in items])
        status = system.status()
        whole = {}
        for kind in HEADLINE:
            if queries := sets.of(kind):
                answers = ask(system, kind, queries, progress)
                whole[kind] = _judge(queries, answers, judged)
        single = {}
        for pair in PAIRS:
            if (not quick or pair.name in QUICK_PAIRS) and (
                queries := _answerable(pair, sets, items, judged)
            ):
                answers = ask(system, pair.name, queries, progress, [pair.target])
                single[pair.name] = _judge(queries, answers, judged)
    trained = {item.id for item in items if item.split == "train"}
    report: dict[str, Any] = {
        "catalogue": {"items": len(items), "split": split, "of_split": sum(i.split == split for i in items)},
        "profile": status.profile,
        "embedding_version": (
            status.releases[release].embedding_version if release else status.embedding_version
        ),
        "models": dict(status.models),
        "options": dict(options or {}),
        "quick": quick,
        "headline": {
            kind: {"about": HEADLINE[kind], **_figures(kind, asked, trained)} for kind, asked in whole.items()
        },
        "pairs": {
            pair.name: {
                "about": pair.about,
                **_figures(pair.kind, single[pair.name], trained),
                "alignment": _alignment(pair, single[pair.name], items),
            }
            for pair in PAIRS
            if pair.name in single
        },
        "baselines": _baselines(whole, items),
        "targets": {"headline": HEADLINE_TARGETS, "pairs": PAIR_TARGETS},
    }
    if SPOKEN in single:
        report["speech_share"] = _speech_share(single[SPOKEN], single[WRITTEN], trained)
    return report


def _judge(queries: Sequence[Query], answers: Mapping[str, Answer], judged: Relevance) -> _Asked:
    relevant = {query.name: judged.relevant(query) for query in queries}
    ranked = {query.name: judged.ranked(query, answers[query.name].ids) for query in queries}
    return _Asked(queries, answers, relevant, ranked, per_query(relevant, ranked))


def _figures(kind: str, asked: _Asked, trained: set[str]) -> dict[str, Any]:
    found = answered(asked.values, asked.answers)
    ways = dict.fromkeys(query.way for query in asked.queries)
    if len(ways) > 1:
        found["ways"] = {
            way: selected(asked.values, [query.name for query in asked.queries if query.way == way])
            for way in ways
        }
    if kind in OF_ALL_SPLITS:
        # most recordings are of items whose pictures were trained on
        held_out = [query.name for query in asked.queries if query.item.id not in trained]
        found["held_out"] = selected(asked.values, held_out)
    return found


def _answerable(pair: Pair, sets: QuerySets, items: Sequence[ManifestItem], judged: Relevance) -> list[Query]:
    """The pair's queries that have a relevant item with something to find."""
    able = _holders(pair, items)
    return [query for query in sets.of(pair.kind) if able.intersection(judged.relevant(query))]


def _holders(pair: Pair, items: Sequence[ManifestItem]) -> set[str]:
    role = HOLDING.get(pair.target)
    return {item.id for item in items if role is None or item.paths(role)}


def _alignment(pair: Pair, asked: _Asked, items: Sequence[ManifestItem]) -> dict[str, Any] | None:
    """Over queries whose own item can be found: not where its own file was asked, or it has nothing there."""
    able = _holders(pair, items)
    shares = {}
    for query in asked.queries:
        relevant = set(asked.relevant[query.name])
        if query.item.id in able & relevant:
            shares[query.name] = nearest_share(query.item.id, able - relevant, asked.ranked[query.name])
    if not shares:
        return None
    values = list(shares.values())
    return {
        "queries": len(values),
        "accuracy": float(np.mean(values)),
        "accuracy_ci95": list(interval(values)),
    }


def _baselines(whole: Mapping[str, _Asked], items: Sequence[ManifestItem]) -> dict[str, Any]:
    """Other rankings of the same queries; words for what is, or was heard as, text."""
    lexical, known = Lexical(items), {item.id: item for item in items}
    found: dict[str, dict[str, Any]] = {"bm25": {}, "bm25+vector": {}, "early": {}}
    for kind, asked in whole.items():
        rankings: dict[str, dict[str, list[str]]] = {name: {} for name in found}
        for query in asked.queries:
            answer = asked.answers[query.name]
            text = query.parts[0] if isinstance(query.parts[0], str) else answer.transcript
            rankings["bm25"][query.name] = lexical.ranked(text)
            rankings["bm25+vector"][query.name] = fused_ranks(answer.ids, rankings["bm25"][query.name])
            if len(query.parts) == 1:
                rankings["early"][query.name] = early(answer, known)
        worded = kind in ("paraphrase", "speech", "speech of paraphrases", "recording")
        for name, ranking in rankings.items():
            if ranking and (worded or name == "early"):
                values = per_query(asked.relevant, ranking)
                changes = [values["ndcg@10"][query] - asked.values["ndcg@10"][query] for query in ranking]
                found[name][kind] = {
                    **summary(values),
                    "against_this_run": float(np.mean(changes)),
                    "against_this_run_ci95": list(interval(changes)),
                    "per_query": values_by_query(values),
                }
    return found


def _speech_share(spoken: _Asked, written: _Asked, trained: set[str]) -> dict[str, Any]:
    names = [query.name for query in spoken.queries]
    held_out = [query.name for query in spoken.queries if query.item.id not in trained]
    return {
        **_share(spoken.values["ndcg@10"], written.values["ndcg@10"], names),
        "target": SPEECH_SHARE,
        "held_out": _share(spoken.values["ndcg@10"], written.values["ndcg@10"], held_out)
        if held_out
        else None,
    }


def _share(spoken: Mapping[str, float], written: Mapping[str, float], names: Sequence[str]) -> dict[str, Any]:
    """What speech reaches of what the same texts reach, over these queries."""
    heard, read = [spoken[name] for name in names], [written[name] for name in names]
    return {
        "ratio": float(np.mean(heard) / np.mean(read)) if np.mean(read) else 0.0,
        "ratio_ci95": list(interval_of_ratio(heard, read)),
        "spoken_ndcg@10": float(np.mean(heard)),
        "written_ndcg@10": float(np.mean(read)),
        "queries": len(names),
    }
