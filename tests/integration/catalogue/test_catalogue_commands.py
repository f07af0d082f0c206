"""The commands as they are run, and the real package where it has been fetched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import pytest

from catalogue import ManifestItem, normalise, read_catalogue, split_of, to_proto
from catalogue.__main__ import EXIT_UNAVAILABLE
from catalogue.settings import CatalogueSettings
from catalogue.stamps import PACKAGE
from catalogue.stamps_build import build
from cli import catalogues


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "catalogue", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=env, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_generate_interrupted_continued_repeated(tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [
        sys.executable,
        "-m",
        "catalogue",
        "generate",
        "--items",
        "9",
        "--seed",
        "3",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("media/product-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        process.wait(timeout=30)
    assert not (out / "manifest.jsonl").exists()
    for folder in (out, out, whole):
        done = run("generate", "--items", "9", "--seed", "3", "--out", str(folder))
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["with_clip"] == 2
    items = list(read_catalogue(out))
    assert len(items) == 9
    assert set(items[0].attributes) == {"shape", "colour", "material", "pattern", "size", "family"}
    assert [len(to_proto(item).media) for item in items] == [3, 2, 2, 2, 2, 3, 2, 2, 2]
    one, other = contents(out), contents(whole)
    assert set(one) == set(other)  # nothing half written is left behind
    assert all(one[name] == other[name] for name in one if not name.endswith(".mp4"))


def test_fewer_items_leave_no_stale_media(tmp_path: Path) -> None:
    for items, files in (("3", 7), ("1", 3)):
        assert run("generate", "--items", items, "--out", str(tmp_path)).returncode == 0
        assert len(list((tmp_path / "media").iterdir())) == files


def test_without_apt_the_exit_code_says_so(tmp_path: Path) -> None:
    done = run(
        "stamps", "--out", str(tmp_path / "out"), PATH=str(tmp_path), SENSORIUM_HOME=str(tmp_path / "home")
    )
    assert done.returncode == EXIT_UNAVAILABLE
    assert "apt-get" in done.stderr
    assert "generate" in done.stderr
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_the_demo_takes_the_generated_catalogue_where_there_is_no_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.setattr(catalogues, "GENERATED_ITEMS", 2)
    with pytest.raises(FileNotFoundError, match="make catalogue"):
        catalogues.demo_manifest(tmp_path)
    for _ in range(2):
        assert catalogues.main() == 0
        assert "using the generated catalogue instead" in " ".join(capfd.readouterr().err.split())
    manifest = catalogues.demo_manifest(tmp_path)
    assert manifest == tmp_path / "catalogues" / "generated" / "manifest.jsonl"
    assert len(list(read_catalogue(manifest))) == 2


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real catalogue, built beside the real one; clips that exist are taken over."""
    settings = CatalogueSettings()
    unpacked = PACKAGE.folder(settings.cache) / "unpacked"
    if not unpacked.is_dir():
        pytest.skip(f"{PACKAGE.name} is not fetched: run `python -m catalogue stamps`")
    out = tmp_path_factory.mktemp("stamps")
    existing = settings.catalogues / "stamps" / "clips"
    (out / "clips").mkdir()
    for clip in existing.glob("*.mp4") if existing.is_dir() else ():
        (out / "clips" / clip.name).write_bytes(clip.read_bytes())
    build(unpacked, out, 2, lambda what, done, total: None)
    return out


@pytest.fixture(scope="module")
def items(stamps: Path) -> list[ManifestItem]:
    return list(read_catalogue(stamps))


def test_the_rule_gives_the_known_counts(items: list[ManifestItem]) -> None:
    assert len(items) == 694
    assert Counter(item.split for item in items) == {"train": 421, "validation": 131, "test": 142}
    assert all(item.split == split_of(item.description) for item in items)


def test_no_description_stands_on_two_sides(items: list[ManifestItem]) -> None:
    sides: dict[str, set[str | None]] = {}
    for item in items:
        sides.setdefault(normalise(item.description), set()).add(item.split)
    assert all(len(side) == 1 for side in sides.values())


def test_media_and_recordings(items: list[ManifestItem]) -> None:
    assert all(len(item.paths("")) == 1 for item in items)
    assert sum(bool(item.paths("effect")) for item in items) == 105
    clips = [item for item in items if item.paths("clip")]
    assert len(clips) >= 60
    assert {item.split for item in clips} == {"train", "validation", "test"}
    english = [query for item in items for query in item.queries if query.language == "en"]
    assert len(english) == 65
    indexed = {path for item in items for path in item.paths()}
    assert not indexed & {query.path for item in items for query in item.queries}


def test_every_clip_plays(items: list[ManifestItem]) -> None:
    for item in items:
        for path in item.paths("clip"):
            with av.open(path) as container:
                shown = sum(1 for _ in container.decode(video=0)) / float(
                    container.streams.video[0].average_rate
                )
                assert 2.9 <= shown <= 5.1
                assert bool(container.streams.audio) == bool(item.paths("effect"))


def test_what_is_left_out_is_said(stamps: Path) -> None:
    summary = json.loads((stamps / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["left_out"]) == ["food/loaf_of_bread.svg"]
    assert summary["redrawn"] == ["household/arttools/pencil2.svg"]
    assert summary["items"] + len(summary["left_out"]) + summary["aside"] == 950
