"""Every package that a room imports is declared: an environment that has it by accident hides the lack."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"milvus"}
BASE = (
    "benchmarks",
    "catalogue",
    "cli",
    "evaluation",
    "indexing",
    "kernels",
    "media",
    "orchestrator",
    "queries",
    "serving",
)
EXTRAS = {
    "export": ("export", "tensorrt"),
    "training": ("export", "evaluation", "training"),
    "evaluation": ("evaluation",),
}
# From extras, where only one command of the room needs them: the benches, the standalone Milvus, the gate of
# releases, kernels for a GPU and their definition, and the tokens that Triton's text steps (in .venv-triton)
# and the bench make.
GIVEN = {
    "benchmarks": {"matplotlib", "onnxruntime", "torch"},
    "cli": {"milvus", "onnxruntime"},
    "kernels": {"torch", "triton"},
    "media": {"tokenizers"},
}


def declared(extras: tuple[str, ...]) -> set[str]:
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {canonical(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in lines}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(room: str) -> set[str]:
    found = set()
    for path in (ROOT / room).rglob("*.py"):
        if "backends" in path.parts:  # runs in .venv-triton
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - OURS


@pytest.mark.parametrize("room", sorted({*BASE, "export", "training"}))
def test_what_a_room_imports_is_declared(room: str) -> None:
    allowed = declared(EXTRAS.get(room, ()))
    providers = packages_distributions()
    missing = {
        name
        for name in imported(room) - GIVEN.get(room, set())
        if not allowed & {canonical(each) for each in providers.get(name, [name])}
    }
    assert not missing
