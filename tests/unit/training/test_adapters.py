"""Adapters of encoders from elsewhere: trained on a few stamps at small size, and read by the export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_profile import small_profile, small_published

from export.architectures.wav2vec2 import AttentivePooling
from export.encoded import adapter_file, graphs_of
from export.errors import WeightsError
from export.profile import Profile, load_profile
from export.run import run
from export.settings import Settings
from training.adapter_features import Features
from training.adapter_run import train_adapters
from training.adapters import Adapter, Schedule, embed, fit
from training.errors import TrainingError
from training.run import train

SHORT = Schedule(steps=12, check_every=4, batch=16)
LEARNED = {"encode_audio": "pool", "encode_video": "fusion"}


def _quiet(_what: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """Training sets torch's threads for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few stamps that have everything, and wheels as they were fetched before."""
    known = Settings().home.absolute()
    manifest = known / "catalogues" / "stamps" / "manifest.jsonl"
    if not manifest.is_file():
        pytest.skip("no catalogue: run `make catalogue`")
    home = tmp_path_factory.mktemp("home")
    folder = home / "catalogues" / "stamps"
    left, lines = {"train": 6, "validation": 4, "test": 1}, []
    for line in manifest.read_text().splitlines():
        item = json.loads(line)
        if not left[item["split"]] or not {"effect", "clip"} <= {each.get("role") for each in item["media"]}:
            continue
        left[item["split"]] -= 1
        item["queries"] = []
        for each in item["media"]:
            if "path" in each:
                (folder / each["path"]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(manifest.parent / each["path"], folder / each["path"])
        lines.append(json.dumps(item))
    assert not any(left.values())
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    (home / "cache").mkdir()
    for path in (known / "cache").iterdir():
        if path.name != "features":
            (home / "cache" / path.name).symlink_to(path)
    return home


@pytest.fixture(scope="module")
def profile(home: Path) -> Profile:
    return small_published(home / "weights")


@pytest.fixture(scope="module")
def trained(home: Path, profile: Profile, espeak: str) -> tuple[Settings, dict[str, Any]]:
    settings = Settings(home=home, checkpoints=home / "checkpoints")
    return settings, train_adapters(profile, settings, 1, _quiet, schedule=SHORT)


def test_every_graph_gets_an_adapter_and_what_it_has_to_learn(
    trained: tuple[Settings, dict[str, Any]], profile: Profile
) -> None:
    settings, metrics = trained
    assert set(metrics["graphs"]) == {"encode_image", "encode_audio", "encode_video"}
    assert metrics["graphs"]["encode_image"]["inputs"] <= 6
    for name, width in (
        ("encode_text", 32),
        ("encode_image", 32),
        ("encode_audio", 512),
        ("encode_video", 2048),
    ):
        state = load_file(adapter_file(profile, name, settings))
        assert state["weight"].shape == (1024, width)
        parts = {key.partition(".")[0] for key in state} - {"weight", "bias"}
        assert parts == ({LEARNED[name]} if name in LEARNED else set())
    for found in metrics["graphs"].values():
        assert found["ndcg@10"] == max(figure for _, _, figure in found["curve"])


def test_the_export_reads_them(
    trained: tuple[Settings, dict[str, Any]], profile: Profile, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = trained
    monkeypatch.setenv("SENSORIUM_HOME", str(home))
    monkeypatch.setenv("SENSORIUM_CHECKPOINTS", str(settings.checkpoints))
    run(("fetch", "load", "onnx", "parity"), profile, ["encode_text", "encode_audio", "encode_video"], None)
    for model in ("encode_audio", "encode_video"):
        record = json.loads((home / "export" / "reference" / model / "load.json").read_text())
        assert f"adapter_{model}.safetensors" in record["figures"]["heads"]
        module = graphs_of(profile)[model].build(profile, settings, lambda: pytest.fail("no heads of lite"))
        state, part = load_file(adapter_file(profile, model, settings)), LEARNED[model]
        weights = module.get_submodule(f"encoder.{part}").state_dict()
        for name, tensor in weights.items():
            torch.testing.assert_close(tensor, state[f"{part}.{name}"].float(), atol=0, rtol=0)
        torch.testing.assert_close(module.adapter.weight, state["weight"].float(), atol=0, rtol=0)


def test_without_them_an_export_says_how_to_get_them(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"adapter_encode_text.*python -m training adapters"):
        graphs_of(profile)["encode_text"].build(
            profile, Settings(checkpoints=tmp_path), lambda: pytest.fail("no heads")
        )


def test_the_same_seed_gives_the_same_adapters(
    trained: tuple[Settings, dict[str, Any]], profile: Profile, home: Path, tmp_path: Path
) -> None:
    settings, _ = trained
    again = Settings(home=home, checkpoints=tmp_path)
    train_adapters(profile, again, 1, _quiet, schedule=SHORT)
    for model in profile.models:
        first, second = (load_file(adapter_file(profile, model, each)) for each in (settings, again))
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("timed", [False, True])
def test_what_is_stored_is_what_was_trained(timed: bool) -> None:
    """Standardisation is folded into weight and bias; frames of another input never count."""
    rng = np.random.default_rng(0)
    length = np.array([3, 1, 5, 2] if timed else [1] * 4)
    values = rng.normal(3, 2, (int(length.sum()), 8)).astype(np.float32)
    pool = AttentivePooling(8, 4, 6) if timed else None
    features = Features(np.arange(4), values, length, timed, pool, "pool" if timed else "")
    adapter = Adapter(features, np.arange(4), SHORT).eval()
    state, ends = adapter.state(), np.cumsum(length)
    for row, found in enumerate(embed(adapter, features)):
        given = torch.from_numpy(values[ends[row] - length[row] : ends[row]])
        if pool is not None:
            given = pool(given[None], torch.ones(1, len(given)))
        expected = torch.nn.functional.normalize(given @ state["weight"].T + state["bias"], dim=1)
        torch.testing.assert_close(torch.from_numpy(found), expected[0], atol=1e-6, rtol=1e-4)


def test_what_was_never_seen_finds_its_text() -> None:
    """Inputs and texts that show the same in two ways: 16 of 64 are held out and found afterwards."""
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(64, 6))
    texts = torch.nn.functional.normalize(torch.from_numpy(shown @ rng.normal(size=(6, 1024))).float(), dim=1)
    seen = shown @ rng.normal(size=(6, 24)) + rng.normal(5, 0.05, (64, 24))
    features = Features(np.arange(64), seen.astype(np.float32), np.ones(64, np.intp), False)
    torch.manual_seed(0)
    adapter = Adapter(features, np.arange(48), SHORT)

    def read(rows: Any, _: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return adapter(features, rows), texts[rows], torch.from_numpy(rows)

    def found() -> float:
        scores = torch.from_numpy(embed(adapter, features)[48:]) @ texts[48:].T
        return float((scores.argmax(dim=1) == torch.arange(16)).float().mean())

    curve = fit([adapter], read, np.arange(48), found, Schedule(steps=200, batch=48))
    assert curve[0][2] < 0.3
    assert found() > 0.9


def test_training_stops_and_keeps_the_best() -> None:
    rng = np.random.default_rng(0)
    features = Features(np.arange(8), rng.normal(size=(8, 4)).astype(np.float32), np.ones(8, np.intp), False)
    adapter = Adapter(features, np.arange(8), SHORT)
    figures, states = iter([0.1, 0.5, 0.3, 0.4, 0.2, 0.1]), []

    def figure() -> float:
        states.append(adapter.outer.weight.detach().clone())
        return next(figures)

    def read(rows: Any, _: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return adapter(features, rows), torch.eye(8, 1024)[rows], torch.from_numpy(rows)

    schedule = Schedule(steps=100, check_every=1, patience=3, batch=8)
    curve = fit([adapter], read, np.arange(8), figure, schedule)
    assert [value for _, _, value in curve] == [0.1, 0.5, 0.3, 0.4, 0.2]
    torch.testing.assert_close(adapter.outer.weight.detach(), states[1], atol=0, rtol=0)
    assert not torch.equal(states[1], states[4])


def test_what_has_no_adapters_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(TrainingError, match="lite has no adapters"):
        train_adapters(load_profile("lite"), settings, 1, _quiet)
    with pytest.raises(TrainingError, match="random weights"):
        train_adapters(small_profile(), settings, 1, _quiet)
    with pytest.raises(TrainingError, match="python -m training adapters --profile reference"):
        train("reference", settings, 1, _quiet)
