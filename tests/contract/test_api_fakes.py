"""The fakes have the methods of the real clients, and both have those of the protocols."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from fake_feedback import FakeFeedbackStore
from fakes import FakeEncoder, FakeItemStore, FakeVectorStore, FakeWriter

from indexing import Indexer
from orchestrator.clients.feedback import FeedbackStore as RealFeedbackStore
from orchestrator.clients.items import ItemStore as RealItemStore
from orchestrator.clients.milvus import VectorStore as RealVectorStore
from orchestrator.clients.triton import TritonClient
from orchestrator.feedback import FeedbackStore
from orchestrator.guarded import GuardedEncoder, GuardedStore
from orchestrator.ports import CatalogueWriter, Encoder, ItemStore, VectorStore

CASES = [
    (protocol, cls, name)
    for protocol, classes in [
        (Encoder, (TritonClient, GuardedEncoder, FakeEncoder)),
        (VectorStore, (RealVectorStore, GuardedStore, FakeVectorStore)),
        (ItemStore, (RealItemStore, FakeItemStore)),
        (FeedbackStore, (RealFeedbackStore, FakeFeedbackStore)),
        (CatalogueWriter, (Indexer, FakeWriter)),
    ]
    for cls in classes
    for name in vars(protocol)
    if not name.startswith("_")
]


def shape(method: Callable[..., Any]) -> tuple[str, list[tuple[str, Any, Any]], Any]:
    """How it is called, what with, and what it gives."""
    if inspect.isasyncgenfunction(method):
        kind = "async generator"
    elif inspect.iscoroutinefunction(method):
        kind = "coroutine"
    else:
        kind = "plain"
    signature = inspect.signature(method)
    parameters = [(p.name, p.kind, p.annotation) for p in signature.parameters.values()]
    return kind, parameters, signature.return_annotation


@pytest.mark.parametrize(
    ("protocol", "cls", "name"), CASES, ids=[f"{cls.__module__}.{cls.__name__}.{n}" for _, cls, n in CASES]
)
def test_a_method_has_the_protocols_signature(protocol: type, cls: type, name: str) -> None:
    kind, parameters, answer = shape(getattr(cls, name))
    wanted_kind, wanted_parameters, wanted_answer = shape(getattr(protocol, name))
    assert parameters == wanted_parameters
    assert answer == wanted_answer
    # A protocol's method that gives an async generator is declared plain.
    assert kind == ("async generator" if "AsyncGenerator" in str(answer) else wanted_kind)
