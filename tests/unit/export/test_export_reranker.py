"""The re-ranker's architecture: order, padding, what it is before training, and its ONNX form."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from export.errors import WeightsError
from export.graphs import export_graph
from export.reranker import KINDS, Reranker, Shape, load_reranker
from export.reranker_steps import reranker_graph

Inputs = tuple[torch.Tensor, ...]
SMALL = Shape(layers=1, width=16, heads=2, hidden=32)


def inputs(batch: int, candidates: int, vectors: int, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def unit(*sizes: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*sizes, 1024, generator=generator), dim=-1)

    def share(*sizes: int) -> torch.Tensor:
        return torch.rand(*sizes, generator=generator)

    there = (share(batch, candidates, 4, 1) > 0.4).float()
    there[:, :, 0] = 1
    kinds = torch.randint(1, len(KINDS), (batch, vectors), generator=generator)
    weights = torch.randn(batch, vectors, generator=generator)
    rows = unit(batch, candidates, 4) * there
    evidence = share(batch, candidates, vectors, 4) * there.transpose(2, 3)
    return unit(batch, vectors), kinds, weights, rows, evidence, share(batch, candidates)


def trained(shape: Shape = SMALL) -> Reranker:
    """No layer is zero any more."""
    torch.manual_seed(0)
    model = Reranker(shape)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def test_untrained_it_gives_the_fused_scores() -> None:
    given = inputs(2, 50, 3)
    torch.testing.assert_close(Reranker(SMALL).eval()(*given), given[-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("scores", [True, False])
def test_the_order_of_candidates_does_not_matter(scores: bool) -> None:
    query, kinds, weights, rows, evidence, fused = inputs(2, 30, 3)
    model = trained(replace(SMALL, scores=scores))
    found = model(query, kinds, weights, rows, evidence, fused)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    again = model(query, kinds, weights, rows[:, order], evidence[:, order], fused[:, order])
    torch.testing.assert_close(again, found[:, order], atol=1e-5, rtol=0)
    assert found.std() > 0.01


def test_the_order_of_parts_does_not_matter() -> None:
    query, kinds, weights, rows, evidence, fused = inputs(1, 9, 4)
    model, order = trained(), torch.tensor([2, 0, 3, 1])
    again = model(query[:, order], kinds[:, order], weights[:, order], rows, evidence[:, :, order], fused)
    torch.testing.assert_close(again, model(query, kinds, weights, rows, evidence, fused), atol=1e-5, rtol=0)


def test_padding_changes_nothing() -> None:
    given = inputs(1, 7, 2)
    query, kinds, weights, rows, evidence, fused = given
    pad = torch.nn.functional.pad
    padded = (
        pad(query, (0, 0, 0, 2)),
        pad(kinds, (0, 2)),
        pad(weights, (0, 2)),
        pad(rows, (0, 0, 0, 0, 0, 3)),
        pad(evidence, (0, 0, 0, 2, 0, 3)),
        pad(fused, (0, 3)),
    )
    model = trained()
    torch.testing.assert_close(model(*padded)[:, :7], model(*given), atol=1e-5, rtol=0)


def test_queries_of_a_batch_do_not_see_each_other() -> None:
    one, other = inputs(1, 6, 2), inputs(1, 6, 2, seed=5)
    model = trained()
    both = model(*(torch.cat(pair) for pair in zip(one, other, strict=True)))
    torch.testing.assert_close(both, torch.cat([model(*one), model(*other)]), atol=1e-5, rtol=0)


def test_without_scores_it_does_not_read_them() -> None:
    query, kinds, weights, rows, evidence, fused = inputs(1, 6, 2)
    model = trained(replace(SMALL, scores=False))
    found = model(query, kinds, weights, rows, evidence, fused)
    assert torch.equal(found, model(query, kinds, weights, rows, 1 - evidence, 1 - fused))


def test_everything_it_is_given_counts() -> None:
    given = inputs(1, 6, 2)
    model = trained()
    found = model(*given)
    for place in range(6):
        changed = list(given)
        changed[place] = (given[1] % 5) + 1 if place == 1 else given[place] * 0.3
        assert not torch.allclose(model(*changed), found, atol=1e-6), place


def test_the_onnx_form_computes_the_same_at_other_sizes(tmp_path: Path) -> None:
    model = trained(Shape())
    path = tmp_path / "rerank.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_graph(reranker_graph(model), model, path)
    session = onnxruntime.InferenceSession(str(path))
    names = list(reranker_graph(model).inputs)
    for sizes in ((1, 50, 1), (3, 7, 4), (1, 2, 1), (2, 1, 5)):
        given = inputs(*sizes)
        feed = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        (found,) = session.run(["score"], feed)
        np.testing.assert_allclose(found, model(*given).numpy(), atol=1e-5)


def saved(path: Path, model: Reranker, **metadata: str) -> Path:
    save_file(dict(model.state_dict()), path, metadata={"shape": json.dumps(asdict(SMALL)), **metadata})
    return path


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    model = trained()
    again, about = load_reranker(saved(tmp_path / "r.safetensors", model, about='{"default_for": ["text"]}'))
    assert about == {"default_for": ["text"]}
    given = inputs(1, 5, 2)
    assert torch.equal(again(*given), model(*given))


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    wide = Reranker(replace(SMALL, width=32))
    with pytest.raises(WeightsError, match="does not fit"):
        load_reranker(saved(tmp_path / "wide.safetensors", wide, about="{}"))
    with pytest.raises(WeightsError, match="about"):
        load_reranker(saved(tmp_path / "mute.safetensors", trained()))
    with pytest.raises(WeightsError, match="missing"):
        load_reranker(tmp_path / "missing.safetensors")
