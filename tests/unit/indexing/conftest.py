"""An indexer on encoder and rows in memory, and on a real item store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from indexing_support import (
    HashEncoder,
    MemoryRows,
    make_indexer,
)

from indexing import Indexer
from orchestrator.clients.items import ItemStore


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
async def items(tmp_path: Path) -> AsyncIterator[ItemStore]:
    async with ItemStore(tmp_path) as store:
        yield store


@pytest.fixture
async def indexer(encoder: HashEncoder, rows: MemoryRows, items: ItemStore) -> Indexer:
    return make_indexer(encoder, rows, items)
