"""Who imports whom: the table of docs/architecture.md, held against the syntax trees of all rooms."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "media",
    "catalogue",
    "queries",
    "export",
    "training",
    "model_repository",
    "serving",
    "sensorium",
    "releases",
    "kernels",
    "orchestrator",
    "indexing",
    "evaluation",
    "benchmarks",
    "loadtests",
    "cli",
)
# Prefixes of modules that a room may import beside itself.
MAY: dict[str, tuple[str, ...]] = {
    "media": (),
    "catalogue": ("media", "sensorium"),
    "queries": ("media", "catalogue", "sensorium"),
    "export": ("media",),
    "training": ("export", "media", "catalogue", "queries", "evaluation.metrics", "sensorium"),
    "model_repository": ("media",),
    "serving": (),
    "sensorium": (),
    "releases": (),
    "kernels": (),
    "orchestrator": ("media", "sensorium", "releases", "kernels"),
    "indexing": (
        "media",
        "orchestrator.ports",
        "orchestrator.types",
        "orchestrator.errors",
        "orchestrator.clients",
        "orchestrator.settings",
    ),
    "evaluation": ("sensorium", "catalogue", "queries"),
    "benchmarks": ("media", "catalogue", "sensorium", "kernels"),
    "loadtests": ("sensorium", "catalogue", "queries"),
    "cli": (
        "media",
        "catalogue",
        "serving",
        "sensorium",
        "releases",
        "orchestrator",
        "indexing",
        "evaluation",
        "benchmarks",
        "model_repository",
        "loadtests.arrivals",
        "loadtests.payloads",
        "loadtests.prepare",
        "loadtests.steady",
    ),
}
# Inside the orchestrator arrows point inward: a module may import those of its own or an inner ring.
RINGS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"types", "settings", "feedback", "watched_file"}),
    frozenset({"ports", "query", "spans"}),
    frozenset(
        {
            "trace",
            "deadlines",
            "calibrate",
            "composed_score",
            "evidence",
            "cache",
            "diversify",
            "filters",
            "filter_items",
            "metrics",
            "release_metrics",
            "embedding_versions",
            "canary",
        }
    )
    | frozenset({"breaker", "retry"})
    | frozenset({"logs", "profile", "quality", "strengths", "fair_queue", "generations", "tls", "under_way"}),
    frozenset({"admit", "gate", "classify", "compose", "fusion", "late", "answer", "row_vectors"})
    | frozenset({"wire", "feedback_wire", "guarded"}),
    frozenset({"searches", "cache_keys", "access"}),
    frozenset({"attend", "embed", "answer_cache", "transcribe", "retrieve", "personalise", "rerank"})
    | frozenset({"cross_attention"}),
    frozenset({"hop", "expand", "record"}),
    frozenset({"refine"}),
    frozenset({"common"}),
    frozenset({"runtime"}),
    frozenset({"pipeline", "lineup"}),
    frozenset({"release_wire", "release_watch", "follow"}),
    frozenset({"status"}),
    frozenset({"service"}),
    frozenset({"grpc_server", "rest"}),
    frozenset({"server"}),
)
SERVING_PATH = ("orchestrator", "indexing", "media", "cli")
NOT_FOR_SERVING = {"torch", "triton", "transformers", "onnx", "onnxscript", "matplotlib", "ir_measures"}
NOT_FOR_SERVING |= {"gevent", "locust"}  # these patch the standard library


def sources(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of everything a file imports, in functions too, with the line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).with_suffix("").parts[: -node.level] if node.level else ()
            module = ".".join((*package, *([node.module] if node.module else ())))
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def test_every_room_is_in_the_table_and_in_the_document() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= set(ROOMS)
    document = (ROOT / "docs/architecture.md").read_text("utf-8")
    drawn = set(re.findall(r"^\| `(\w+)/", document, re.MULTILINE)) - {"milvus"}
    assert drawn == set(MAY)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        for name, line in imports(path)
        if name.partition(".")[0] in ROOMS
        and not under(name, room)
        and not any(under(name, allowed) for allowed in MAY[room])
    ]
    assert not wrong, "\n".join(wrong)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("room", ROOMS)
def test_modules_of_a_room_form_layers(room: str) -> None:
    """No circle of imports, also where an import inside a function would hide it."""
    modules = {module(path): path for path in sources(room)}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for own, path in modules.items():
        for name, _ in imports(path):
            # The longest beginning of the name that is a module: the rest is something inside it.
            parts = name.split(".")
            found = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
            graph[own].add(next((each for each in found if each in modules), own))
        graph[own].discard(own)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_training_never_sees_the_human_recordings() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for room in ("training", "queries")
        for path in sources(room)
        for name, line in imports(path)
        if under(name, "queries.recordings")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", SERVING_PATH)
def test_the_serving_path_imports_no_torch(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        for name, line in imports(path)
        if name.partition(".")[0] in NOT_FOR_SERVING
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_locustfile_knows_locust() -> None:
    """Its import patches the standard library: only its own process may suffer that."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for room in ROOMS
        for path in sources(room)
        if path.name != "locustfile.py"
        for name, line in imports(path)
        if under(name, "locust") or under(name, "gevent.monkey")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_torch_comes_in_by_way_of_a_library() -> None:
    code = (
        "import sys, cli.server, cli.main; "
        f"sys.exit(', '.join(sorted({NOT_FOR_SERVING!r} & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def ring(module: str) -> int:
    return next(place for place, names in enumerate(RINGS) if module in names)


def test_arrows_inside_the_orchestrator_point_inward() -> None:
    wrong = []
    for path in sources("orchestrator"):
        own = path.relative_to(ROOT / "orchestrator").with_suffix("").parts[0]
        if own == "__init__":
            continue
        # The clients are outside of everything: they know the inner words, nobody inside knows them.
        reach = 2 if own == "clients" else ring(own)
        for name, line in imports(path):
            parts = name.split(".")
            if parts[0] != "orchestrator" or len(parts) < 2 or parts[1] == own:
                continue
            if parts[1] == "clients" or ring(parts[1]) > reach:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_only_the_clients_know_triton_milvus_and_redis() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for room in ("orchestrator", "indexing", "evaluation")
        for path in sources(room)
        if "clients" not in path.parts and path.relative_to(ROOT).as_posix() != "evaluation/recogniser.py"
        for name, line in imports(path)
        if name.partition(".")[0] in {"tritonclient", "pymilvus", "milvus_lite", "redis"}
    ]
    assert not wrong, "\n".join(wrong)
