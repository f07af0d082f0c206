"""What the re-ranker learns from: the candidates that a running system finds for train and validation
queries.

Hits and signals come through the public API, vectors from the same Triton as the system's own, so both are
what is served. The system that is asked holds no test item, so none is even a wrong answer here; candidates
for a train query are of the train split alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from export.reranker import KINDS, ROWS
from media import Limits, decode_text, segments, sniff
from queries import MadeQuery
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc
from training.catalogue_data import Stamp
from training.errors import TrainingError
from training.store import Progress

__all__ = ["POOL", "Example", "Gallery", "Triton", "collect", "embed_gallery", "example_of"]

POOL = 50
LIMIT = 100
DEADLINE_S = 60.0
AT_ONCE = 4
NEGATIVE_WEIGHTS = (-0.5, -1.0, -2.0)

Floats = npt.NDArray[np.float32]
Tokens = dict[tuple[int, bool], tuple[str, float, Floats]]
"""(part, whether it is the transcript) -> kind, weight and vector, in the order of the parts."""


@dataclass(frozen=True)
class Example:
    """One query with q vectors and its c candidates; the tensors are `export.reranker.Reranker`'s, without
    batch.

    ``rows`` INT64 [c, 4] are places in the gallery's vectors, -1 for none. ``relevant`` bool [c];
    ``wanted`` are all items of the gallery that answer it, ``found`` the candidates' ids and ``behind`` the
    ids that follow them.
    """

    name: str
    kind: str
    asks: str
    split: str
    query: Floats
    query_kind: npt.NDArray[np.int64]
    query_weight: Floats
    rows: npt.NDArray[np.int64]
    evidence: Floats
    fused: Floats
    relevant: npt.NDArray[np.bool_]
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    behind: tuple[str, ...]
    fuse_ms: float


@dataclass(frozen=True)
class Gallery:
    """Vectors [n, 1024] of all rows of the items, and where each item's rows of a modality are."""

    vectors: Floats
    places: Mapping[tuple[str, str], Sequence[int]]
    stamps: Mapping[str, Stamp]


class Triton:
    """Vectors from the served encoders; use it in a `with`."""

    def __init__(self, url: str) -> None:
        self._client = InferenceServerClient(url, channel_args=[("grpc.enable_http_proxy", 0)])

    def __enter__(self) -> Triton:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def embed(self, modality: str, content: bytes) -> Floats:
        """FP32 [1024]. Raises TrainingError when Triton does not answer, or refuses the content."""
        tensor = InferInput(modality, [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[content]], dtype=object))
        try:
            answer = self._client.infer(f"embed_{modality}", [tensor], client_timeout=DEADLINE_S)
        except InferenceServerException as error:
            raise TrainingError(f"Triton cannot embed a {modality}: {error}") from error
        vector: Floats = np.array(answer.as_numpy("embedding")[0], np.float32)
        return vector


def embed_gallery(stamps: Sequence[Stamp], triton: Triton, progress: Progress) -> Gallery:
    """The rows that indexing makes of the items: their text, pictures, and segments of sounds and clips.

    Raises:
        TrainingError: Triton failed.
        MediaError: a file of the catalogue cannot be read.
    """
    limits = Limits()
    contents: list[tuple[str, str, bytes]] = []
    for stamp in stamps:
        contents.append((stamp.id, "text", stamp.indexed.encode()))
        for path in (stamp.picture, *stamp.effects, *stamp.clips):
            data = path.read_bytes()
            kind = sniff(data, limits)
            contents += [(stamp.id, kind.modality.value, s.data) for s in segments(data, kind, limits)]
    vectors = np.zeros((len(contents), 1024), np.float32)
    places: dict[tuple[str, str], list[int]] = {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = threads.map(lambda one: triton.embed(one[1], one[2]), contents)
        for place, vector in enumerate(done):
            progress("candidates' rows", place + 1, len(contents))
            vectors[place] = vector
            places.setdefault(contents[place][:2], []).append(place)
    return Gallery(vectors, places, {stamp.id: stamp for stamp in stamps})


@dataclass(frozen=True)
class _Asked:
    name: str
    asks: str
    stamp: Stamp
    parts: tuple[str | Path, ...]
    weights: tuple[float, ...]


def collect(
    target: str, triton: Triton, gallery: Gallery, queries: Iterable[MadeQuery], progress: Progress
) -> list[Example]:
    """One example for each query, and for each paraphrase another that forgoes its best wrong answer.

    Raises:
        TrainingError: the system does not answer, answers badly, or has a re-ranker under way.
    """
    asked = [
        _Asked(made.name, made.kind, gallery.stamps[made.item.id], made.parts, (1.0,) * len(made.parts))
        for made in queries
    ]
    with connect.channel(target) as channel, ThreadPoolExecutor(AT_ONCE) as threads:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        ask = _Asker(stub, triton, gallery)
        found = []
        for number, example in enumerate(threads.map(ask.example, asked)):
            progress("candidates", number + 1, len(asked))
            found.append(example)
        negative = [
            _without(one, example, gallery, number)
            for number, (one, example) in enumerate(zip(asked, found, strict=True))
            if one.asks == "paraphrase" and example is not None
        ]
        for number, example in enumerate(threads.map(ask.example, filter(None, negative))):
            progress("candidates, something forgone", number + 1, len(negative))
            found.append(example)
    return [example for example in found if example is not None]


def _without(one: _Asked, example: Example, gallery: Gallery, number: int) -> _Asked | None:
    """The same query that does not want the first wrong answer of its own split: "this, but not that"."""
    for item, right in zip(example.found, example.relevant, strict=True):
        other = gallery.stamps[item]
        if not right and other.split == one.stamp.split:
            weight = NEGATIVE_WEIGHTS[number % len(NEGATIVE_WEIGHTS)]
            return replace(
                one,
                name=f"{one.name}/without",
                asks="negative",
                parts=(*one.parts, other.description),
                weights=(1.0, weight),
            )
    return None


class _Asker:
    """Asks one query at a time; used from several threads."""

    def __init__(self, stub: rpc.SensoriumStub, triton: Triton, gallery: Gallery) -> None:
        self._stub, self._triton, self._gallery = stub, triton, gallery
        self._limits = Limits()

    def example(self, asked: _Asked) -> Example | None:
        contents = [part if isinstance(part, str) else part.read_bytes() for part in asked.parts]
        request = pb.SearchRequest(
            parts=[
                pb.QueryPart(text=c, weight=w) if isinstance(c, str) else pb.QueryPart(data=c, weight=w)
                for c, w in zip(contents, asked.weights, strict=True)
            ],
            limit=LIMIT,
            mmr_lambda=1.0,
            options=pb.SearchOptions(rerank=False),
        )
        try:
            answer = self._stub.Search(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise TrainingError(f"{asked.name}: {error.code().name}: {error.details()}") from error
        if answer.degraded:
            raise TrainingError(f"{asked.name} was answered without {', '.join(answer.degraded)}")
        tokens = self._tokens(asked, contents, answer)
        return example_of(asked.name, asked.asks, asked.stamp, tokens, answer, self._gallery)

    def _tokens(self, asked: _Asked, contents: Sequence[str | bytes], answer: pb.SearchResponse) -> Tokens:
        tokens: Tokens = {}
        for part, (content, info) in enumerate(zip(contents, answer.parts, strict=True)):
            modality = _modality(info.modality)
            data = decode_text(content, self._limits).encode() if isinstance(content, str) else content
            tokens[part, False] = modality, asked.weights[part], self._triton.embed(modality, data)
            if info.transcript:
                heard = self._triton.embed("text", info.transcript.encode())
                tokens[part, True] = "transcript", asked.weights[part], heard
        return tokens


def example_of(
    name: str, asks: str, stamp: Stamp, tokens: Tokens, answer: pb.SearchResponse, gallery: Gallery
) -> Example | None:
    """The example that an answer makes, as `orchestrator.rerank` lays it out; None when nothing was found."""
    stamps = gallery.stamps
    seen = ("train",) if stamp.split == "train" else ("train", "validation")
    hits = [hit for hit in answer.hits if stamps[hit.item.id].split in seen]
    if not hits:
        return None
    head = hits[:POOL]
    weights = np.array([weight for _, weight, _ in tokens.values()], np.float32)
    places = {key: place for place, key in enumerate(tokens)}
    rows = np.full((len(head), len(ROWS)), -1, np.int64)
    evidence = np.zeros((len(head), len(tokens), len(ROWS)), np.float32)
    for number, hit in enumerate(head):
        rows[number, 0] = gallery.places[hit.item.id, "text"][0]
        # the strongest signal of a modality, which comes first, says which row stands for it
        for signal in reversed(hit.signals):
            key, row = (signal.part, signal.space == "transcript"), _modality(signal.item_modality)
            at = number, places[key], ROWS.index(row)
            evidence[at] = max(evidence[at], signal.score)
            there = gallery.places[hit.item.id, row]
            near = gallery.vectors[there] @ tokens[key][2]
            rows[number, ROWS.index(row)] = there[int(near.argmax())]
    kinds = {_modality(part.modality) for part in answer.parts}
    kind = kinds.pop() if len(kinds) == 1 else "mixed"
    return Example(
        name=name,
        kind="negative" if weights.min() < 0 else kind,
        asks=asks,
        split=stamp.split,
        query=np.stack([vector for _, _, vector in tokens.values()]),
        query_kind=np.array([KINDS.index(name) for name, _, _ in tokens.values()], np.int64),
        query_weight=weights,
        rows=rows,
        evidence=evidence,
        fused=np.array([hit.score for hit in head], np.float32),
        relevant=np.array([stamps[hit.item.id].meaning == stamp.meaning for hit in head]),
        wanted=tuple(s.id for s in stamps.values() if s.meaning == stamp.meaning and s.split in seen),
        found=tuple(hit.item.id for hit in head),
        behind=tuple(hit.item.id for hit in hits[POOL:]),
        fuse_ms=sum(stage.ms for stage in answer.stages if stage.stage == "fuse"),
    )


def _modality(number: pb.Modality) -> str:
    return pb.Modality.Name(number).lower()
