"""What is running, for ``GetStatus`` and for probes. Who does not answer soon is said to be away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import TypeVar

from orchestrator.access.caller import Caller
from orchestrator.errors import SensoriumError
from orchestrator.lineup import Served
from orchestrator.ports import ItemStore, VectorStore
from orchestrator.release_wire import release_messages
from orchestrator.types import Modality
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["is_ready", "status_message"]

_ANSWER_S = 3.0

T = TypeVar("T")


async def status_message(served: Served, store: VectorStore, items: ItemStore, caller: Caller) -> pb.Status:
    """Nothing is raised for what is away. How much others have, a caller with a filter is not told."""
    no_rows: Mapping[Modality, int] = {}
    no_models: Mapping[str, str] = {}
    current = served.current
    embedding_set = current.embedding_set
    triton, milvus, count, rows, models = await asyncio.gather(
        _within(current.encoder.ready, False),
        _within(store.ready, False),
        _within(items.count, None),
        _within(lambda: store.counts(embedding_set.version), no_rows),
        _within(current.encoder.models, no_models),
    )
    precision = embedding_set.precision
    states = {"triton": triton, "milvus": milvus, "items": count is not None}
    told = caller.condition is None
    return pb.Status(
        version=version("sensorium"),
        profile=f"{embedding_set.profile} (random weights)"
        if embedding_set.random
        else embedding_set.profile,
        embedding_version=embedding_set.version,
        items=(count or 0) if told else 0,
        rows={modality.value: number for modality, number in rows.items()} if told else {},
        dependencies={name: "ready" if ok else "unavailable" for name, ok in states.items()},
        models={
            # An ensemble, and what runs its steps in one process, has the precision of its encoder.
            name: f"{number} {precision.get(name.replace('embed_', 'encode_'), '')}".rstrip()
            for name, number in models.items()
        },
        release=current.release,
        releases=release_messages(served),
    )


async def is_ready(served: Served, store: VectorStore) -> bool:
    """Whether Triton and Milvus answer."""
    return all(
        await asyncio.gather(_within(served.current.encoder.ready, False), _within(store.ready, False))
    )


async def _within(call: Callable[[], Awaitable[T]], otherwise: T) -> T:
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await call()
    except (SensoriumError, TimeoutError):
        return otherwise
