"""Standing queries: every validation description, what a running system found for it, and by which evidence.

`training` weighs the evidence anew to see whether what it learned from clicks costs plain relevance.
Relevance is that of `queries`. The test split is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import grpc

from catalogue.manifest import read_manifest
from catalogue.split import normalise
from evaluation.client import DEADLINE_S, EvaluationError, SearchFailedError, Sensorium
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["ask_standing"]

FOUND = 50
TARGETS = (pb.IMAGE, pb.AUDIO, pb.VIDEO)
"""Not texts: descriptions are indexed word by word, and would answer themselves."""

Progress = Callable[[str, int, int], None]


def ask_standing(target: str, manifest: Path, out: Path, progress: Progress) -> int:
    """Writes `out`; the number of queries.

    Raises:
        EvaluationError: the system does not answer, holds other items, or the catalogue has no validation
            split.
        CatalogueError: the manifest cannot be read.
    """
    items = list(read_manifest(manifest))
    asked = [item for item in items if item.split == "validation" and item.description]
    if not asked:
        raise EvaluationError(f"{manifest} has no validation split: standing queries are those of the stamps")
    answers: dict[str, list[str]] = {}
    for item in items:
        answers.setdefault(normalise(item.description), []).append(item.id)
    with Sensorium(target) as system:
        system.require([item.id for item in items])
    queries = []
    with connect.channel(target) as channel:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        for number, item in enumerate(asked):
            progress("standing queries", number, len(asked))
            request = pb.SearchRequest(
                parts=[pb.QueryPart(text=item.description)],
                target_modalities=TARGETS,
                limit=FOUND,
                mmr_lambda=1.0,
            )
            try:
                response = stub.Search(request, timeout=DEADLINE_S)
            except grpc.RpcError as error:
                raise SearchFailedError(f"{item.id}: {error.code().name}: {error.details()}") from error
            queries.append(
                {
                    "name": item.id,
                    "relevant": answers[normalise(item.description)],
                    "found": [
                        {"id": hit.item.id, "score": hit.score, "evidence": _evidence(hit)}
                        for hit in response.hits
                    ],
                }
            )
        progress("standing queries", len(asked), len(asked))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"queries": queries}) + "\n", encoding="utf-8")
    return len(queries)


def _evidence(hit: pb.Hit) -> dict[str, float]:
    """Shares per pair of modalities, as the system keeps them for its users' answers."""
    weights: dict[str, float] = {}
    for signal in hit.signals:
        if signal.weight > 0:
            query = pb.TEXT if signal.space == "transcript" else signal.query_modality
            native = "/native" if signal.space in ("audio", "video") else ""
            pair = f"{_name(query)}->{_name(signal.item_modality)}{native}"
            weights[pair] = max(weights.get(pair, 0.0), signal.score * signal.weight)
    total = sum(weights.values())
    return {pair: weight / total for pair, weight in weights.items()} if total else {}


def _name(modality: pb.Modality) -> str:
    return pb.Modality.Name(modality).lower()
