"""`make evaluate`, `make retrain`, `make bench`: systems of their own, measured through their public faces.

python -m cli.measure relevance [--split test] [--options rerank=false,...] [--quick] [--products 720]
    [--compare A.json B.json] [--out reports]
python -m cli.measure standing [--out reports]
python -m cli.measure speed [--rounds 3] [--out reports]
python -m cli.measure latency
python -m cli.measure leaving
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from catalogue import read_manifest
from cli import processes
from cli.catalogues import demo_manifest
from cli.client import Client
from cli.failures import exit_code
from cli.indexing import index_items
from cli.milvus_server import milvus_standalone
from cli.scratch import scratch_stack
from cli.stack import COMMANDS, Stack
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from benchmarks.speed import Encoders

__all__ = ["Asked", "relevance", "speed", "standing"]

console = Console(stderr=True)
# Everything is worked out, and nothing turned away: how long it takes is what is asked.
NO_CACHE = {
    "SENSORIUM_CACHE__MAX_BYTES": "0",
    "SENSORIUM_ADMISSION__MAX_CONCURRENT": "32",
    "SENSORIUM_ADMISSION__MAX_WAIT_S": "30",
}
TEXTS = 200
ONE_PLACE = {**NO_CACHE, "SENSORIUM_ADMISSION__MAX_CONCURRENT": "1"}
ALONE, WARM_UP = 60, 5
PRODUCTS = 720
"""Generated items: some five for each shape in each colour, so that compositions have answers."""
REPOSITORY = Path("model_repository").absolute()


@contextlib.contextmanager
def indexed(
    folder: Path,
    home: Path,
    manifest: Path,
    extra: Mapping[str, str],
    names: tuple[str, ...] = tuple(COMMANDS),
    splits: Collection[str | None] | None = None,
) -> Iterator[Stack]:
    """A running system with the catalogue in it, or its items of some `splits`. What was indexed in `folder`
    before is used again."""
    # Two measurements in one folder would stop each other's processes.
    with processes.exclusive(folder), scratch_stack(folder, home, extra, names) as stack:
        with console.status("starting a system to measure"):
            stack.up()
        with Client(stack.target) as client:
            items = [item for item in read_manifest(manifest) if splits is None or item.split in splits]
            console.print(index_items(client, items, console).line())
        yield stack


@dataclass(frozen=True)
class Asked:
    """What `make evaluate` was asked for; `options` as `python -m evaluation` reads them."""

    out: Path
    split: str = "test"
    options: str = ""
    quick: bool = False
    products: int = PRODUCTS


def relevance(asked: Asked) -> int:
    """Exit code of `python -m evaluation`: relevance and diversity on the stamps, then attributes on a
    generated catalogue in a system of its own, all in one report."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    with indexed(home / "measure" / "lite", home, manifest, {}) as stack:
        for what in ("relevance", "diversity"):
            code = _evaluate(what, stack.target, manifest, asked, ["--split", asked.split])
            if code:
                return code
    if not asked.products:
        return 0
    manifest = _products(home, asked.products)
    with indexed(home / "measure" / "products", home, manifest, {}) as stack:
        return _evaluate("attributes", stack.target, manifest, asked, [])


def _evaluate(what: str, target: str, manifest: Path, asked: Asked, more: list[str]) -> int:
    command = processes.python("-m", "evaluation", what, "--grpc", target, "--catalogue", str(manifest))
    command += ["--out", str(asked.out / "evaluation.json"), "--options", asked.options, *more]
    return subprocess.run([*command, *(["--quick"] if asked.quick else [])], check=False).returncode


def standing(out: Path) -> int:
    """Exit code of `python -m evaluation standing`: the validation queries that clicks may not harm."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    with indexed(home / "measure" / "lite", home, manifest, {}) as stack:
        command = processes.python("-m", "evaluation", "standing", "--grpc", stack.target)
        command += ["--catalogue", str(manifest), "--out", str(out / "standing.json")]
        return subprocess.run(command, check=False).returncode


def _products(home: Path, count: int) -> Path:
    """The manifest of a generated catalogue of `count` items; the demo's own may be shorter."""
    folder = home / "catalogues" / "products"
    arguments = ("generate", "--items", str(count), "--seed", "0", "--out", str(folder))
    if subprocess.run(processes.python("-m", "catalogue", *arguments), check=False).returncode:
        raise FileNotFoundError(f"{folder}: the generated catalogue could not be made")
    return folder / "manifest.jsonl"


def speed(rounds: int, out: Path) -> int:
    """Runs the bench on Milvus Lite and standalone side by side. Needs h2load."""
    from benchmarks.payloads import choose
    from benchmarks.speed import Bench, Encoders

    if shutil.which("h2load") is None:
        console.print("needs h2load: apt-get install nghttp2-client", style="red")
        return 1
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    work = home / "measure"
    with contextlib.ExitStack() as held:
        lite = held.enter_context(indexed(work / "lite", home, manifest, NO_CACHE))
        uri = held.enter_context(milvus_standalone(work / "milvus"))
        on_server = {
            **NO_CACHE,
            "SENSORIUM_MILVUS__URI": uri,
            "SENSORIUM_MILVUS__PARAMETERS": "standalone",
            "SENSORIUM_TRITON__URL": lite.settings.triton.url,
        }
        standalone = held.enter_context(
            indexed(work / "standalone", home, manifest, on_server, ("orchestrator",))
        )
        plain_text = fp32_text()
        plain = {"SENSORIUM_MODEL_REPOSITORY": str(fp32_repository(work / "fp32_repository"))}
        fp32 = held.enter_context(scratch_stack(work / "fp32", home, plain, ("triton",)))
        fp32.up()
        bench = Bench(
            python=Path(".venv-triton/bin/python"),
            payloads=choose(manifest),
            texts=[item.description for item in read_manifest(manifest) if item.description][:TEXTS],
            encoders=[
                Encoders("fp32", fp32.settings.triton.url, {"text": plain_text}),
                *(
                    Encoders(precision, lite.settings.triton.url, models)
                    for precision, models in served_models().items()
                ),
            ],
            systems={"lite": lite.target, "standalone": standalone.target},
            processes={
                f"{label} {name}": record.pid
                for label, stack in (("lite", lite), ("standalone", standalone))
                for name in stack.names
                if (record := processes.read_record(name, stack.settings.home / "run"))
            },
            reranker=served_reranker(lite.settings.triton.url),
        )
        bench.run(rounds, out, console)
    console.print((out / "bench.md").read_text(), markup=False, highlight=False)
    return 0


def latency() -> int:
    """Searches one at a time, nothing kept, on Milvus Lite: medians by modality and stage, as JSON.

    Texts are the descriptions of different items, sounds the effects of items outside the train split.
    """
    from benchmarks.payloads import choose, sounds
    from benchmarks.searches import alone
    from media import Modality

    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    payloads = choose(manifest)
    different = {
        Modality.TEXT: [item.description.encode() for item in read_manifest(manifest) if item.description],
        Modality.AUDIO: sounds(manifest, without="train"),
    }
    with indexed(home / "measure" / "lite", home, manifest, NO_CACHE) as stack:
        for modality in Modality:
            each = itertools.cycle(different.get(modality) or [payloads.of(modality)])
            asked = list(itertools.islice(each, ALONE))
            alone(stack.target, modality.value, asked[:WARM_UP])
            console.print_json(
                json.dumps({"query": modality.value, **alone(stack.target, modality.value, asked)})
            )
    return 0


def leaving() -> int:
    """How soon the place of a search is free whose caller has left, in whatever stage, as JSON."""
    from benchmarks.payloads import choose
    from benchmarks.searches import alone, freed_after
    from media import Modality

    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    clip = choose(manifest).of(Modality.VIDEO)
    with indexed(home / "measure" / "lite", home, manifest, ONE_PLACE) as stack:
        whole_s = alone(stack.target, "video", [clip] * WARM_UP)["total_ms"] / 1000
        freed = freed_after(stack.target, "video", clip, [whole_s * n / ALONE for n in range(1, ALONE + 1)])
    figures = {"left": len(freed), "median_ms": statistics.median(freed), "worst_ms": max(freed)}
    console.print_json(json.dumps({**figures, "a whole search_ms": whole_s * 1000}))
    return 0


def served_models() -> dict[str, dict[str, Path]]:
    """Model files that are served: by precision, then by modality."""
    released = json.loads((REPOSITORY / "embedding.json").read_text())["models"]
    found: dict[str, dict[str, Path]] = {}
    for name, model in released.items():
        path = REPOSITORY / name / model["version"] / "model.onnx"
        found.setdefault(model["precision"], {})[name.removeprefix("encode_")] = path
    return found


def served_reranker(triton_url: str) -> Encoders | None:
    """The re-ranker as it is served, None where none was trained."""
    from benchmarks.speed import Encoders

    model = json.loads((REPOSITORY / "embedding.json").read_text()).get("rerank")
    if model is None:
        return None
    path = REPOSITORY / "rerank" / model["version"] / "model.onnx"
    return Encoders(model["precision"], triton_url, {"rerank": path})


def fp32_text() -> Path:
    """The text encoder in FP32, whichever is served."""
    served = next(models["text"] for models in served_models().values() if "text" in models)
    plain = served.with_name("model.fp32.onnx")
    return plain if plain.is_file() else served


def fp32_repository(folder: Path) -> Path:
    """The model repository again, by links, with the FP32 file of every encoder that is served as INT8."""
    shutil.rmtree(folder, ignore_errors=True)
    for source in REPOSITORY.rglob("*"):
        if not source.is_file() or "__pycache__" in source.parts:
            continue
        link = folder / source.relative_to(REPOSITORY)
        link.parent.mkdir(parents=True, exist_ok=True)
        plain = source.with_name("model.fp32.onnx")
        link.symlink_to(plain if source.name == "model.onnx" and plain.is_file() else source)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.measure", description="Measure relevance or speed.")
    parser.add_argument("what", choices=("relevance", "standing", "speed", "latency", "leaving"))
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--options", default="", metavar="NAME=BOOL,...")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--products", type=int, default=PRODUCTS, help="generated items, 0 for none")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two reports; asks nothing")
    arguments = parser.parse_args()
    if arguments.compare:
        command = processes.python("-m", "evaluation", "compare", *map(str, arguments.compare))
        return subprocess.run(command, check=False).returncode
    asked = Asked(arguments.out, arguments.split, arguments.options, arguments.quick, arguments.products)
    measure = {
        "relevance": lambda: relevance(asked),
        "standing": lambda: standing(arguments.out),
        "speed": lambda: speed(arguments.rounds, arguments.out),
        "latency": latency,
        "leaving": leaving,
    }
    return exit_code(measure[arguments.what])


if __name__ == "__main__":
    sys.exit(main())
