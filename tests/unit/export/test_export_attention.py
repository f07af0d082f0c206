"""Attention fusion's graph: it begins as weighted averaging, and neither order nor padding matters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from export.attention import Attention, AttentionShape
from export.attention_steps import attention_graph
from export.graphs import export_graph
from export.sessions import open_session

SMALL = AttentionShape(layers=2, width=16, heads=2, hidden=16)


@pytest.fixture
def trained() -> Attention:
    """As if trained: nothing is zero."""
    torch.manual_seed(1)
    model = Attention(SMALL).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.3)
    return model


def inputs(parts: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    query = normalize(torch.randn(2, parts, 1024, generator=generator), dim=-1)
    native = torch.randn(2, parts, 512, generator=generator)
    kind = torch.tensor([[2, 1, 3], [1, 1, 2]])[:, :parts]
    weight = torch.tensor([[1.0, 0.5, -1.0], [2.0, -0.5, 1.0]])[:, :parts]
    return query, native, kind, weight


def test_untrained_it_is_weighted_averaging() -> None:
    torch.manual_seed(0)
    query, native, kind, weight = inputs()
    summed = normalize((weight.unsqueeze(-1) * query).sum(dim=1), dim=-1)
    composed = Attention(SMALL).eval()(query, native, kind, weight)
    for row in range(4):
        torch.testing.assert_close(composed[:, row], summed)


def test_the_order_of_parts_does_not_matter(trained: Attention) -> None:
    given = inputs()
    turned = tuple(tensor[:, [2, 0, 1]] for tensor in given)
    torch.testing.assert_close(trained(*given), trained(*turned))


def test_padding_and_the_scale_of_weights_do_not_matter(trained: Attention) -> None:
    query, native, kind, weight = inputs()
    padded = [torch.cat([one, torch.zeros_like(one[:, :2])], dim=1) for one in (query, native, kind, weight)]
    expected = trained(query, native, kind, weight)
    torch.testing.assert_close(trained(*padded), expected)
    torch.testing.assert_close(trained(query, native, kind, 3 * weight), expected)
    assert not torch.allclose(trained(query, native, kind, -weight), expected)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_onnx_computes_what_torch_computes(trained: Attention, tmp_path: Path, parts: int) -> None:
    export_graph(attention_graph(trained), trained, tmp_path / "model.onnx")
    given = inputs(parts)
    feed = dict(zip(attention_graph(trained).inputs, (tensor.numpy() for tensor in given), strict=True))
    (found,) = open_session(tmp_path / "model.onnx", 1).run(["composed"], feed)
    torch.testing.assert_close(torch.from_numpy(found), trained(*given), atol=1e-5, rtol=1e-4)
