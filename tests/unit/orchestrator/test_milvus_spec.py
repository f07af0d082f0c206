"""The YAML of ``milvus/`` and the rule by which an index grows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clients import milvus_rows
from orchestrator.clients.milvus_spec import index_step, load_spec
from orchestrator.errors import ConfigurationError
from orchestrator.types import Embedding, Modality, Row

MILVUS = Path(__file__).parents[3] / "milvus"
PROFILES = ["lite", "standalone", "cluster"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_the_rows_that_are_written(profile: str) -> None:
    spec = load_spec(profile)
    row = Row(
        item_id="a",
        modality=Modality.AUDIO,
        media_index=0,
        segment=0,
        start_s=0.0,
        end_s=1.0,
        embedding=Embedding(*(np.zeros(n, dtype=np.float32) for n in (1024, 512))),
        embedding_version="v",
        price=None,
        available=True,
        category="",
        tags=("x",),
    )
    fields = {spec.row.primary.name, spec.row.vector.name, *(field.name for field in spec.row.fields)}
    for _, vector in milvus_rows.vectors_of(row):
        assert milvus_rows.to_entity(row, vector, spec).keys() == fields
    assert set(milvus_rows.HIT_FIELDS) <= fields
    assert spec.collections["unified"].partitions == tuple(Modality)
    assert [c.metric for c in map(spec.collections.__getitem__, ("unified", "audio", "video"))] == [
        "COSINE",
        "L2",
        "COSINE",
    ]


def test_the_design_stands_for_large_collections() -> None:
    collections = load_spec("cluster").collections
    unified, audio, video = (index_step(collections[s], 300_000_000) for s in ("unified", "audio", "video"))
    assert (unified.type, unified.build["nlist"], unified.build["m"]) == ("IVF_PQ", 16384, 16)
    assert unified.search == {"nprobe": 64}
    assert (audio.type, audio.build, audio.search) == ("HNSW", {"M": 16, "efConstruction": 100}, {"ef": 100})
    assert (video.type, video.build, video.search) == ("HNSW", {"M": 32, "efConstruction": 200}, {"ef": 200})


@pytest.mark.parametrize("profile", PROFILES)
@given(rows=st.integers(min_value=0, max_value=10**10), more=st.integers(min_value=0, max_value=10**9))
def test_more_rows_never_mean_a_smaller_step(profile: str, rows: int, more: int) -> None:
    for collection in load_spec(profile).collections.values():
        small, large = index_step(collection, rows), index_step(collection, rows + more)
        assert small.up_to_rows <= large.up_to_rows
        assert rows <= small.up_to_rows or small is collection.index[-1]
        if small.type == large.type:
            assert small.build.get("nlist", 0) <= large.build.get("nlist", 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dim: 512", "dim: 256"),
        ("planned_rows: 100000", "planned_rows: 0"),
        ("wait_visible: false", "wait_visible: false\nsurprise: 1"),
        ("type: HNSW", "type: ANNOY"),
        ("collections:", "collections"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, old: str, new: str) -> None:
    shutil.copy(MILVUS / "rows.yaml", tmp_path)
    text = (MILVUS / "lite.yaml").read_text()
    assert old in text
    (tmp_path / "lite.yaml").write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError, match=r"milvus/lite\.yaml"):
        load_spec("lite", tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus/lite\.yaml"):
        load_spec("lite", tmp_path)
