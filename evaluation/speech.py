"""Word error rate of spoken queries, with the catalogue's vocabulary and without.

With it the transcript is the one that the search API gives; without it `transcribe_audio` is asked directly.
Both are compared with the description that was read, by jiwer, after the same normalisation as descriptions
are (`catalogue.split.normalise`: lower case, letters and digits, no leading article), so that "A frog." and
"Frog" are one. WER is errors by words of all sounds together (Morris, Maier and Green 2004), its interval a
bootstrap over sounds; `right` is the share of sounds without an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

from catalogue.manifest import read_manifest
from catalogue.split import Split, normalise
from evaluation.asked import QuerySets
from evaluation.client import EvaluationError, Sensorium
from evaluation.figures import Progress
from evaluation.judgements import Query
from evaluation.metrics import interval, interval_of_ratio
from evaluation.recogniser import Recogniser
from queries.types import HasHome

__all__ = ["measure_speech", "speech_table", "word_errors"]

KINDS = {"recording": "human voices", "speech": "espeak-ng"}
WAYS = {"free": "without vocabulary", "vocabulary": "with vocabulary"}


def measure_speech(
    target: str,
    triton: str,
    manifest: Path,
    settings: HasHome,
    progress: Progress,
    split: Split = "test",
    quick: bool = False,
) -> dict[str, Any]:
    """`speech_recognition[kind][split of the item][way]`: WER and the share of sounds heard right.

    Human recordings are those of all splits when `split` is test, else those outside the test split.

    Raises:
        EvaluationError: the system or Triton does not answer, or other items are indexed.
        CatalogueError, QueriesError: the manifest cannot be read or its queries cannot be made.
    """
    items = list(read_manifest(manifest))
    sets = QuerySets(items, settings, split, quick)
    found: dict[str, Any] = {}
    with Sensorium(target) as system, Recogniser(triton) as recogniser:
        system.require([item.id for item in items])
        status = system.status()
        for kind in KINDS:
            heard: dict[str, list[tuple[Query, str, str]]] = {}
            queries = sets.of(kind)
            for number, query in enumerate(queries):
                progress(kind, number, len(queries))
                (sound,) = query.parts
                if not isinstance(sound, Path):
                    raise EvaluationError(f"{query.name} is not a sound")
                free = recogniser.transcribe(query.name, sound.read_bytes())
                answer = system.search(f"{kind} {query.name}", query.parts)
                heard.setdefault(query.item.split or "", []).append((query, free, answer.transcript))
            progress(kind, len(queries), len(queries))
            found[kind] = {side: _figures(each) for side, each in sorted(heard.items())}
    return {
        "catalogue": {"items": len(items), "split": split, "of_split": sum(i.split == split for i in items)},
        "embedding_version": status.embedding_version,
        "speech_recognition": found,
    }


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Substitutions, deletions and insertions after normalisation, and the number of words said."""
    reference, hypothesis = normalise(said), normalise(heard)
    words = len(reference.split())
    if not words:
        raise ValueError("nothing was said")
    if not hypothesis:
        return words, words
    made = jiwer.process_words(reference, hypothesis)
    return made.substitutions + made.deletions + made.insertions, words


def _figures(heard: Sequence[tuple[Query, str, str]]) -> dict[str, Any]:
    ways = {"free": [each[1] for each in heard], "vocabulary": [each[2] for each in heard]}
    said = [query.item.description for query, *_ in heard]
    return {way: _way(said, texts) for way, texts in ways.items()}


def _way(said: Sequence[str], heard: Sequence[str]) -> dict[str, Any]:
    counts = [word_errors(*pair) for pair in zip(said, heard, strict=True)]
    errors, words = [float(count) for count, _ in counts], [float(count) for _, count in counts]
    right = [float(not count) for count in errors]
    return {
        "queries": len(counts),
        "wer": sum(errors) / sum(words),
        "wer_ci95": list(interval_of_ratio(errors, words)),
        "right": float(np.mean(right)),
        "right_ci95": list(interval(right)),
    }


def speech_table(report: Mapping[str, Any]) -> Iterable[str]:
    """Lines of Markdown: a row for each kind of voice, split and way."""
    yield "### Speech recognition"
    yield ""
    yield "With vocabulary: the search API's transcript. Without: Triton's `transcribe_audio` asked directly."
    yield ""
    yield "| voice | split | sounds | | WER | 95 % | heard right | 95 % |"
    yield "|---|---|---:|---|---:|---|---:|---|"
    for kind, sides in report["speech_recognition"].items():
        for side, ways in sides.items():
            for way, figures in ways.items():
                wer, right = figures["wer_ci95"], figures["right_ci95"]
                yield (
                    f"| {KINDS[kind]} | {side} | {figures['queries']} | {WAYS[way]} | {figures['wer']:.2f} "
                    f"| {wer[0]:.2f} to {wer[1]:.2f} | {figures['right']:.0%} "
                    f"| {right[0]:.0%} to {right[1]:.0%} |"
                )
