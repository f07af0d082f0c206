"""SlowFast with the published weights: every tensor finds its place, and the outcome is theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import published_slowfast as published
import pytest
import torch
from torch import nn

from export.architectures.checkpoints import read_checkpoint
from export.architectures.slowfast import SlowFast, renamed
from export.errors import WeightsError

DEPTHS, CHANNELS = (2, 1, 1, 2), 16
NAMES_SHA256 = "b64258d537dd0d36112ed878c11546389102ac459f198d1924d33a3dbf2ebe30"
"""Of the sorted names and shapes of `pytorchvideo.models.hub.slowfast_r50().state_dict()`, release 0.1.5."""


def test_the_names_are_those_of_pytorchvideo() -> None:
    shapes = published.shapes()
    assert len(shapes) == 662
    lines = "\n".join(sorted(f"{name} {shape}" for name, shape in shapes.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES_SHA256


def test_every_published_tensor_finds_its_place() -> None:
    with torch.device("meta"):
        network = SlowFast()
        state = {name: torch.empty(shape) for name, shape in published.shapes().items()}
        whole = nn.ModuleList([network, nn.Linear(network.width, 400)])
    network.load_state_dict(renamed(state), strict=True)
    parameters = sum(each.numel() for name, each in state.items() if ".running_" not in name)
    norms = sum(1 for name in state if name.endswith("num_batches_tracked"))
    assert parameters - norms == sum(each.numel() for each in whole.parameters()) == 34_566_488


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Convolutions this small wait for threads ten times as long as they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("frames", [8, 16])
def test_converted_weights_compute_what_the_published_do(frames: int, tmp_path: Path) -> None:
    state = published.random_state(DEPTHS, CHANNELS)
    file = tmp_path / "SLOWFAST_8x8_R50.pyth"
    torch.save({"model_state": state, "epoch": 196, "cfg": "TRAIN:"}, file)
    network = SlowFast(DEPTHS, CHANNELS).eval()
    network.load_state_dict(renamed(read_checkpoint(file, "model_state")), strict=True)
    clip = torch.randn(2, 3, frames, 40, 40, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = published.pooled(state, clip, DEPTHS)
        assert expected.std() > 0.1
        torch.testing.assert_close(network(clip), expected, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    state = published.random_state(DEPTHS, CHANNELS)
    with pytest.raises(WeightsError, match=r"s1\.pathway0_stem\.conv\.weight is no tensor"):
        renamed({**state, "s1.pathway0_stem.conv.weight": torch.zeros(1)})
    file = tmp_path / "bare.pyth"
    torch.save(state, file)
    with pytest.raises(WeightsError, match="under 'model_state'"):
        read_checkpoint(file, "model_state")
    other = SlowFast(DEPTHS, 2 * CHANNELS)
    with pytest.raises(RuntimeError, match=r"slow_stages\.0\.0\.first\.0\.weight"):
        other.load_state_dict(renamed(state), strict=True)


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("a checkpoint ran code",)


def test_code_in_a_checkpoint_never_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "SLOWFAST_8x8_R50.pyth"
    torch.save({"model_state": {"blocks.0.multipathway_blocks.0.conv.weight": _Code()}}, file)
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_checkpoint(file, "model_state")
    assert capsys.readouterr().out == ""
