"""What README and `make help` promise, against the code. Examples: tests/e2e/test_readme_examples.py."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from catalogue import read_catalogue
from indexing import IndexingSettings
from media import Limits
from orchestrator.settings import Settings
from serving import Settings as ServingSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MEDIA = {"frog.png", "croak.ogg", "jump.mp4", "frog.ogg"}


def defaults() -> dict[str, object]:
    """Every variable that anything reads, with its default."""
    found: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        found |= dict(leaves(f"SENSORIUM_{name}", field.default))
    for name, field in IndexingSettings.model_fields.items():
        found[f"SENSORIUM_INDEXING__{name}"] = field.default
    for name, field in ServingSettings.model_fields.items():
        found[f"SENSORIUM_SERVING_{name}"] = field.default
    for limit in dataclasses.fields(Limits):
        found[f"SENSORIUM_MEDIA_{limit.name}"] = limit.default
    return {name.upper(): value for name, value in found.items()}


def leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    """The settings of a group and of the groups in it."""
    if isinstance(value, BaseModel):
        for inner, its in value:
            yield from leaves(f"{name}__{inner}", its)
    else:
        yield name, value


def table() -> Iterator[tuple[str, str]]:
    """Each variable of the configuration table in full, with what stands for its default ("" for nothing)."""
    for line in re.findall(r"^\| `SENSORIUM_.*\|$", README, flags=re.MULTILINE):
        names, values = (cell.strip() for cell in line.strip("|").split("|")[:2])
        first, *others = re.findall(r"`(\w+)`", names)
        full = [first]
        for other in others:
            if other.startswith("__") or not other.startswith("_"):
                full.append(f"{first.rsplit('__', 1)[0]}__{other.removeprefix('__')}")
            else:
                full.append("_".join(first.split("_")[:2]) + other)
        stated = values.split(", ")
        yield from zip(full, [*stated, *[""] * (len(full) - len(stated))], strict=True)


def number(text: str) -> float:
    value, _, unit = text.partition(" ")
    return float(value.replace(",", "")) * {"": 1, "M": 1e6, "MiB": 1024 * 1024}[unit]


def test_every_variable_of_the_table_is_read_and_has_its_default() -> None:
    known = defaults()
    rows = list(table())
    assert len(rows) > 30
    for name, stated in rows:
        assert name in known, name
        default = known[name]
        if stated == "none":
            assert default is None, name
        elif stated.startswith("`"):
            assert str(default) in (stated.strip("`"), str(ROOT / stated.strip("`"))), name
        elif re.match(r"\d", stated):
            assert default == number(stated), name


def test_its_manifest_is_read(tmp_path: Path) -> None:
    (line,) = re.findall(r"^```json\n(.*?)\n```", README, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "manifest.jsonl").write_text(line)
    for name in MEDIA:
        (tmp_path / name).write_bytes(b"content")
    (item,) = read_catalogue(tmp_path)
    assert (item.id, item.price, len(item.media)) == ("frog-1", 12.5, 3)


def test_its_folder_is_read(tmp_path: Path) -> None:
    paths = re.findall(r"^    my-catalogue/(\S+\.\w+)$", README, flags=re.MULTILINE)
    assert len(paths) == 3
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("A green tree frog.")
    (item,) = read_catalogue(tmp_path)
    assert (item.category, item.tags, len(item.media)) == ("amphibians", ("amphibians",), 2)
    assert item.description == "A green tree frog."


def test_every_link_and_picture_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert "docs/images/search-page.png" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_help_lists_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert re.findall(r"^  make (\S+) +\S", done.stdout, flags=re.MULTILINE) != []
    assert set(re.findall(r"^  make (\S+) +\S", done.stdout, flags=re.MULTILINE)) == set(phony.split())


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|    )make ([a-z]+)", README))))
def test_every_target_it_names_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
