"""What a running system finds for known queries, with all evidence: what fusion and re-ranking learn from.

`collect` asks over gRPC for the LIMIT best items by relevance alone (no diversification) and keeps, in one
`.npz` below `<cache>/candidates/`, three tables:

- per query [q]: `name`, `kind` and `source` (the item it was made from), `parts`, and `answers`, how many
  items of the whole catalogue are relevant, found or not;
- per candidate [n], grouped by query, best first: `query` (row of the first table), `item` (place in `items`,
  the ids), `score` (fused, as served) and `relevant`;
- per signal [m], grouped by candidate: `candidate`, `part`, `pair` (place in PAIRS), `similarity` (raw),
  `probability` (calibrated) and `weight`, as `sensorium.v1.Signal` has them.

Relevant is what has the same normalised description. Queries are asked one after another, so that the batches
that a server forms, and with them the last digits of INT8 models, do not depend on chance. A file is found
again by its label, the models that are served, the catalogue, `options` and every byte of the queries.

The system that is asked decides what `score` and `weight` mean; fusion learns from one that does not fuse by
learned weights (SENSORIUM_FUSION__LEARNED=false), where `weight` is the part's, times the confidence of a
transcript.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np
import numpy.typing as npt

from catalogue.manifest import ManifestItem
from catalogue.split import normalise
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc
from training.errors import CandidatesError
from training.store import Progress

__all__ = ["LIMIT", "PAIRS", "Asked", "Candidates", "collect"]

LIMIT = 400
"""All that four searches of 100 rows can find. Fewer, cut by a fusion that is to be replaced, would hide what
it got wrong: paraphrases whose item stood behind 100 others."""
DEADLINE_S = 60.0
ATTEMPTS = 3
"""A stage that was cut short on a busy machine is asked for again."""
MAX_MESSAGE_BYTES = 64 << 20
MODALITIES = ("text", "image", "audio", "video")
PAIRS = (
    *(f"{query}->{item}" for query in MODALITIES for item in MODALITIES),
    "audio->audio/native",
    "video->video/native",
    *(f"transcript->{item}" for item in MODALITIES),
)
"""Kinds of evidence: query modality -> item modality; in an encoder's own space; through a transcript."""


class Asked(Protocol):
    """A query that `item` answers: text as it stands, a path by the file's bytes."""

    @property
    def name(self) -> str: ...
    @property
    def item(self) -> ManifestItem: ...
    @property
    def kind(self) -> str: ...
    @property
    def parts(self) -> tuple[str | Path, ...]: ...


@dataclass(frozen=True)
class Candidates:
    """The three tables of the module's docstring, as arrays of equal length each."""

    name: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]
    source: npt.NDArray[np.str_]
    parts: npt.NDArray[np.int32]
    answers: npt.NDArray[np.int32]
    items: npt.NDArray[np.str_]
    query: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    relevant: npt.NDArray[np.bool_]
    candidate: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]
    pair: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]

    def evidence(self, column: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A column of the signals, for queries of one part, as [n, len(PAIRS)]; NaN where there is none."""
        dense = np.full((len(self.query), len(PAIRS)), np.nan, np.float32)
        dense[self.candidate, self.pair] = column
        return dense


def collect(
    target: str,
    queries: Sequence[Asked],
    catalogue: Sequence[ManifestItem],
    cache: Path,
    progress: Progress,
    options: pb.SearchOptions | None = None,
    label: str = "candidates",
) -> Candidates:
    """Ask `queries` of the system at `target`, in which `catalogue` is indexed, or read what it found before.

    `options` are sent with every query; `label` stands in the file's name, and tells a system that answers
    otherwise with the same models (other fusion weights) from this one.

    Raises:
        CandidatesError: no answer, a degraded one, or another catalogue is indexed.
    """
    options = options or pb.SearchOptions()
    with connect.channel(target, options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]) as channel:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        try:
            status: pb.Status = stub.GetStatus(pb.GetStatusRequest(), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise CandidatesError(f"{target}: {error.code().name}: {error.details()}") from error
        if status.items != len(catalogue):
            raise CandidatesError(
                f"{status.items} items are indexed, {len(catalogue)} stand in the catalogue"
            )
        key = _key(status, options, queries, catalogue)
        path = cache / "candidates" / f"{label}-{key}.npz"
        if not path.is_file():
            found = []
            for number, query in enumerate(queries):
                progress(label, number, len(queries))
                found.append(_search(stub, query, options))
            _write(path, _tables(queries, found, catalogue))
    progress(label, len(queries), len(queries))
    with np.load(path, allow_pickle=False) as stored:
        return Candidates(**{field.name: stored[field.name] for field in fields(Candidates)})


def _search(stub: rpc.SensoriumStub, query: Asked, options: pb.SearchOptions) -> pb.SearchResponse:
    parts = [
        pb.QueryPart(text=part) if isinstance(part, str) else pb.QueryPart(data=part.read_bytes())
        for part in query.parts
    ]
    request = pb.SearchRequest(parts=parts, limit=LIMIT, mmr_lambda=1.0, options=options)
    for _ in range(ATTEMPTS):
        try:
            response: pb.SearchResponse = stub.Search(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise CandidatesError(f"{query.name}: {error.code().name}: {error.details()}") from error
        if not response.degraded:
            return response
    raise CandidatesError(f"{query.name}: degraded: {'; '.join(response.degraded)}")


def _tables(
    queries: Sequence[Asked], found: Sequence[pb.SearchResponse], catalogue: Sequence[ManifestItem]
) -> Candidates:
    meaning = {item.id: normalise(item.description) for item in catalogue}
    count = Counter(meaning.values())
    items = sorted(meaning)
    place = {item: number for number, item in enumerate(items)}
    candidates: list[tuple[int, int, float, bool]] = []
    signals: list[tuple[int, int, int, float, float, float]] = []
    for number, (query, response) in enumerate(zip(queries, found, strict=True)):
        wanted = meaning[query.item.id]
        for hit in response.hits:
            signals += [
                (
                    len(candidates),
                    signal.part,
                    PAIRS.index(_pair(signal)),
                    signal.similarity,
                    signal.score,
                    signal.weight,
                )
                for signal in hit.signals
            ]
            candidates.append((number, place[hit.item.id], hit.score, meaning[hit.item.id] == wanted))
    query, item, score, relevant = _columns(candidates, 4)
    candidate, part, pair, similarity, probability, weight = _columns(signals, 6)
    return Candidates(
        name=np.array([query.name for query in queries]),
        kind=np.array([query.kind for query in queries]),
        source=np.array([query.item.id for query in queries]),
        parts=np.array([len(query.parts) for query in queries], np.int32),
        answers=np.array([count[meaning[query.item.id]] for query in queries], np.int32),
        items=np.array(items),
        query=query.astype(np.int32),
        item=item.astype(np.int32),
        score=score.astype(np.float32),
        relevant=relevant.astype(np.bool_),
        candidate=candidate.astype(np.int32),
        part=part.astype(np.int32),
        pair=pair.astype(np.int32),
        similarity=similarity.astype(np.float32),
        probability=probability.astype(np.float32),
        weight=weight.astype(np.float32),
    )


def _columns(rows: Iterable[tuple[float, ...]], width: int) -> npt.NDArray[np.float64]:
    return np.array(list(rows), np.float64).reshape(-1, width).T


def _pair(signal: pb.Signal) -> str:
    query = pb.Modality.Name(signal.query_modality).lower()
    item = pb.Modality.Name(signal.item_modality).lower()
    if signal.space == "transcript":
        return f"transcript->{item}"
    return f"{query}->{item}" + ("" if signal.space == "unified" else "/native")


def _key(
    status: pb.Status,
    options: pb.SearchOptions,
    queries: Sequence[Asked],
    catalogue: Sequence[ManifestItem],
) -> str:
    digest = hashlib.sha256()
    texts = [status.embedding_version, str(LIMIT), *map(str, sorted(status.models.items()))]
    texts.append(options.SerializeToString(deterministic=True).hex())
    texts += [f"{item.id}\n{item.description}" for item in catalogue]
    for query in queries:
        texts += [query.name, query.kind, query.item.id]
        for part in query.parts:
            content = part.encode() if isinstance(part, str) else part.read_bytes()
            texts.append(hashlib.sha256(content).hexdigest())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:24]


def _write(path: Path, tables: Candidates) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.savez_compressed(
            handle,
            allow_pickle=False,
            **{field.name: getattr(tables, field.name) for field in fields(Candidates)},
        )
    partial.replace(path)
