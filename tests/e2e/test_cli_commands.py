"""The `sensorium` command as a user runs it: a process of its own against the running system."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from fixtures_system import ITEMS, System

from catalogue import ManifestItem, read_manifest
from cli.client import Client
from cli.demo import search_samples
from cli.processes import read_record
from media import Limits, Modality, sniff

SENSORIUM = Path(sys.executable).with_name("sensorium")
ROOT = Path(__file__).parents[2]


def sensorium(
    system: System, *arguments: str, code: int = 0, environ: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        [str(SENSORIUM), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**system.stack.environ, **(environ or {})},
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def hits(output: str) -> list[str]:
    return [hit["item"]["id"] for hit in json.loads(output).get("hits", [])]


@pytest.fixture(scope="module")
def items(system: System) -> list[ManifestItem]:
    return list(read_manifest(system.catalogue))


def file_of(items: list[ManifestItem], modality: Modality) -> tuple[ManifestItem, Path]:
    for item in items:
        for path in item.paths():
            if sniff(path.read_bytes(), Limits()).modality is modality:
                return item, path
    raise AssertionError(f"the generated catalogue has no {modality}")


def test_text_finds_its_item(system: System, items: list[ManifestItem]) -> None:
    item = items[3]
    assert item.id in hits(sensorium(system, "search", item.description, "--limit", "5", "--json"))


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO])
def test_a_file_finds_its_item(system: System, items: list[ManifestItem], modality: Modality) -> None:
    item, path = file_of(items, modality)
    output = sensorium(system, "search", f"--{modality.value}", str(path), "--limit", "5", "--json")
    assert item.id in hits(output)


def test_mixed_with_a_negative_part_prints_a_table_with_times(
    system: System, items: list[ManifestItem]
) -> None:
    item, path = file_of(items, Modality.IMAGE)
    output = sensorium(system, "search", item.description, "--image", str(path), "--not", "a bell")
    for word in ("score", item.id[:8], "embed", "retrieve", " ms"):
        assert word in output


def test_filters_narrow_and_errors_name_the_word(system: System, items: list[ManifestItem]) -> None:
    wanted = items[0].category
    found = hits(sensorium(system, "search", "anything", "--filter", f"category={wanted}", "--json"))
    by_id = {item.id: item for item in items}
    assert found
    assert {by_id[one].category for one in found} == {wanted}
    assert "colour" in sensorium(system, "search", "x", "--filter", "colour=red", code=2)
    sensorium(system, "search", code=2)


def test_a_refused_file_is_one_clear_line(system: System, tmp_path: Path) -> None:
    broken = tmp_path / "picture.png"
    broken.write_bytes(b"%PDF-1.7 not a picture")
    output = sensorium(system, "search", "--image", str(broken), code=1)
    assert "media." in output
    assert "part 0" in output
    assert "Traceback" not in output


def test_indexing_again_changes_nothing(system: System) -> None:
    output = sensorium(system, "index", str(system.catalogue))
    assert f"{ITEMS} unchanged" in output
    status = json.loads(sensorium(system, "status", "--json"))
    assert int(status["items"]) == ITEMS


def test_a_folder_is_indexed_without_the_files_that_are_no_media(
    system: System, items: list[ManifestItem], tmp_path: Path
) -> None:
    _, picture = file_of(items, Modality.IMAGE)
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "lenient_item.png").write_bytes(picture.read_bytes())
    (folder / "lenient_item.pdf").write_bytes(b"%PDF-1.7 not media")
    (folder / "lenient_broken.png").write_bytes(picture.read_bytes()[:-100])
    (folder / "notes.txt").write_bytes(b"\xff\xfe\x00")
    output = sensorium(system, "index", str(folder), code=1)  # one item has nothing left
    assert "passed over lenient_item.pdf (lenient_item): media.unsupported" in output
    assert "notes.txt: not UTF-8" in output
    assert "refused lenient_broken.png (lenient_broken): media." in output
    assert "1 indexed, 1 refused" in output
    found = hits(sensorium(system, "search", "--image", str(picture), "--limit", "10", "--json"))
    try:
        assert "lenient_item" in found
    finally:
        httpx.delete(f"{system.rest_url}/v1/items/lenient_item", timeout=30).raise_for_status()


def test_nothing_running_is_said(system: System) -> None:
    output = sensorium(system, "status", "--target", "127.0.0.1:9", code=1)
    assert "sensorium up" in output


def test_what_runs_is_left_running_and_nothing_running_is_no_error(system: System, tmp_path: Path) -> None:
    home = {"SENSORIUM_HOME": str(system.stack.settings.home)}
    before = read_record("triton", system.stack.settings.home / "run")
    output = sensorium(system, "up", environ=home)
    assert system.rest_url in output
    assert re.search(rf"items +{ITEMS}\b", output)
    assert read_record("triton", system.stack.settings.home / "run") == before
    assert "nothing was running" in sensorium(system, "down", environ={"SENSORIUM_HOME": str(tmp_path)})


def test_the_demo_searches_and_leaves_a_system_that_ran_before(system: System) -> None:
    home = system.stack.settings.home
    (home / "catalogues").mkdir()
    (home / "catalogues" / "generated").symlink_to(system.catalogue.parent)
    done = subprocess.run(
        [sys.executable, "-m", "cli.demo", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={**system.stack.environ, "SENSORIUM_HOME": str(home)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("text ", "image:", "audio:", "video:", "text + image", "rank of its item", "retrieve"):
        assert word in done.stdout
    assert "not found" not in done.stdout
    sensorium(system, "status")


def test_the_demo_says_which_searches_missed(system: System, items: list[ManifestItem]) -> None:
    strangers = [item.model_copy(update={"id": f"{item.id}-not-indexed"}) for item in items]
    with Client(system.grpc_target) as client:
        missed = search_samples(client, strangers)
    assert [title.split(":")[0].split(' "')[0] for title in missed] == [
        "text", "image", "audio", "video", "text + image",
    ]  # fmt: skip
