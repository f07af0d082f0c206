"""Rows to store, each with vectors of its own, for the tests of the vector store."""

from __future__ import annotations

import numpy as np

from orchestrator.types import NATIVE_DIM, UNIFIED_DIM, Embedding, FloatArray, Modality, Row

VERSION = "v-1"


def unit(seed: int, dim: int = UNIFIED_DIM) -> FloatArray:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def row(number: int, modality: Modality = Modality.IMAGE, **changes: object) -> Row:
    native = NATIVE_DIM.get(modality)
    fields: dict[str, object] = {
        "item_id": f"item.{number}",
        "modality": modality,
        "media_index": 0,
        "segment": 0,
        "start_s": 1.5,
        "end_s": 2.5,
        "embedding": Embedding(unit(number), None if native is None else unit(number, native)),
        "embedding_version": VERSION,
        "price": float(number),
        "available": True,
        "category": "c",
        "tags": (),
    }
    return Row(**{**fields, **changes})  # type: ignore[arg-type]
