"""Fine-tuning of the image encoder, at random weights and on made-up drawings."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from export.efficientnet import FIRST_TUNED, EfficientNetLite2, lay_tuned, tuned_names
from export.errors import WeightsError
from media import decode_image, image_input
from training import icons
from training.augment import photograph
from training.checkpoints import save_tensors
from training.dataset import Dataset
from training.encoders import Encoders
from training.errors import DataError
from training.finetune import blend, mean_state
from training.icons import IconSet, load_icons
from training.openclipart import Drawing
from training.pictures import HASH_SIDE
from training.plots import plot_curves
from training.store import FeatureStore
from training.tuning import Tuning, fine_tune
from training.tuning_data import SIDE_PX, SMALL, VIEWS, Views, load_views


def made_views(count: int = 16) -> Views:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(count, 384)).astype(np.float32)
    return Views(
        rng.normal(size=(count, VIEWS, 208, 7, 7)).astype(np.float16),
        rng.normal(size=(count, VIEWS, 1000)).astype(np.float16),
        text / np.linalg.norm(text, axis=1, keepdims=True),
        tuple(f"thing {number // 2}" for number in range(count)),
    )


def network() -> EfficientNetLite2:
    torch.manual_seed(7)
    return EfficientNetLite2().eval()


def tune(seed: int, epochs: int = 1) -> tuple[dict[str, torch.Tensor], list[float | None]]:
    model = network()
    prototypes = nn.functional.normalize(
        torch.randn(1000, 384, generator=torch.Generator().manual_seed(1)), dim=1
    )
    tuning = Tuning(epochs=epochs, batch=8, warm_up=1, rate=1e-3, head_rate=1e-3, seed=seed)
    curve = fine_tune(model, made_views(), prototypes, lambda outer: 0.0, tuning, lambda *_: None)
    assert [step for step, _, _ in curve] == [2 * epoch for epoch in range(epochs + 1)]
    return {name: value.detach().clone() for name, value in model.state_dict().items()}, [
        loss for _, loss, _ in curve
    ]


def test_the_same_seed_gives_the_same_weights_and_only_the_last_blocks_change() -> None:
    before, (first, _), (second, _), (other, _) = network().state_dict(), tune(0), tune(0), tune(1)
    tunable = set(tuned_names(network()))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in tunable)
    for name, value in before.items():
        if name not in tunable:
            assert torch.equal(first[name], value), name
    assert any(not torch.equal(first[name], before[name]) for name in tunable)


def test_the_loss_falls() -> None:
    losses = [loss for loss in tune(0, epochs=4)[1] if loss is not None]
    assert losses[-1] < losses[0]


def test_front_and_back_make_the_whole_and_sides_keep_their_parity() -> None:
    model = network()
    with torch.inference_mode():
        x = torch.randn(1, 3, 260, 260, generator=torch.Generator().manual_seed(0))
        front = model.front(x, FIRST_TUNED)
        for whole, part in zip(model(x), model.back(front, FIRST_TUNED), strict=True):
            torch.testing.assert_close(whole, part)
        assert front.shape == (1, 208, 9, 9)
        assert model.front(torch.zeros(1, 3, SIDE_PX, SIDE_PX), FIRST_TUNED).shape == (1, 208, 7, 7)


def test_tuned_blocks_are_laid_over_the_published_ones(tmp_path: Path) -> None:
    source, target = tune(0)[0], network()
    state = {name: source[name].half().contiguous() for name in tuned_names(target)}
    path = tmp_path / "encoder.safetensors"
    save_tensors(state, path, {})
    lay_tuned(target, path)
    laid = target.state_dict()
    assert all(torch.equal(laid[name], value.float()) for name, value in state.items())
    state.pop("_conv_head.weight")
    save_tensors(state, path, {})
    with pytest.raises(WeightsError, match="does not hold"):
        lay_tuned(target, path)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError):
        lay_tuned(target, path)


def test_members_are_averaged_and_blended() -> None:
    a, b = {"w": torch.tensor([0.0, 2.0])}, {"w": torch.tensor([4.0, 2.0])}
    assert mean_state([a, b])["w"].tolist() == [2.0, 2.0]
    assert blend(a, b, 0.25)["w"].tolist() == [1.0, 2.0]


def test_curves_become_a_picture(tmp_path: Path) -> None:
    plot_curves({"member 0": [(0, None, 0.3), (5, 2.0, 0.4)]}, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 500


def drawing(title: str, shape: str) -> Drawing:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64">{shape}</svg>'
    return Drawing(title, svg.encode(), title, ())


def test_no_name_and_no_near_picture_of_any_stamp_is_trained_on(tmp_path: Path) -> None:
    shapes = (
        '<rect x="4" y="4" width="30" height="50" fill="red"/>',
        '<circle cx="40" cy="20" r="18" fill="blue"/>',
        '<path d="M0 60 L60 60 L30 2 Z" fill="green"/>',
    )
    drawings = [
        drawing(title, shape) for title, shape in zip(("A Wallaby", "ball", "tent"), shapes, strict=True)
    ]
    same = Image.fromarray(image_input(decode_image(drawings[1].svg, SMALL)))
    known = np.asarray(imagehash.phash(same, hash_size=HASH_SIDE).hash, np.uint8).ravel()
    data = SimpleNamespace(meanings=("wallaby",), pictures=SimpleNamespace(hashes=known[None]))

    class Made:
        def front(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert pixels.shape == (VIEWS, SIDE_PX, SIDE_PX, 3)
            return np.zeros((VIEWS, 208, 7, 7), np.float32), np.zeros((VIEWS, 1000), np.float32)

        def text(self, texts: list[str]) -> np.ndarray:
            return np.ones((len(texts), 384), np.float32)

    store = FeatureStore(tmp_path, lambda *_: None)
    views = load_views(drawings, cast(Dataset, data), cast(Encoders, Made()), store)
    assert views.meaning == ("tent",)
    assert views.front.shape == (1, VIEWS, 208, 7, 7)


def test_a_photograph_is_the_same_for_the_same_seed() -> None:
    picture = np.full((90, 120, 3), 255, np.uint8)
    picture[20:60, 30:90] = (200, 30, 30)
    first = photograph(picture, 3)
    assert first.shape == (260, 260, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, photograph(picture, 3))
    assert not np.array_equal(first, photograph(picture, 4))


def packed(path: Path, members: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_icons_are_things_and_come_from_the_pinned_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["hot-pepper", "chef-dark-skin-tone", "man-running", "two-oclock"]
    body = {"body": "<path/>"}
    content = {"icons": dict.fromkeys([*names, "red-heart"], body), "width": 32, "height": 32}
    metadata = {"categories": {"Objects": names, "Symbols": ["red-heart"]}}
    made = tmp_path / "made.tgz"
    sha256 = packed(made, {"package/icons.json": content, "package/metadata.json": metadata})
    kept = tmp_path / "cache" / sha256 / "package.tgz"
    kept.parent.mkdir(parents=True)
    made.replace(kept)
    monkeypatch.setattr(icons, "SETS", (IconSet("made@1.0.0", sha256, "MIT"),))
    found = load_icons(tmp_path / "cache")
    assert [one.title for one in found] == ["hot pepper"]
    assert decode_image(found[0].svg, SMALL).shape[2] == 3
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(DataError, match="damaged"):
        load_icons(tmp_path / "cache")
