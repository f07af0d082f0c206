"""The comparison with peers: its arithmetic, its tables, and that every peer's packages are pinned."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.closed_loop import Caller, closed_loop, endless
from benchmarks.load import LoadError
from benchmarks.peer_figures import OURS, SEARCH_NAIVE, SEARCH_OURS, PeerRow, Ratio, markdown, ratios
from benchmarks.peer_servers import SCRIPTS, pins
from benchmarks.peers import PEERS, HttpPeer
from benchmarks.rounds import Target, bursts
from cli.peers import NAIVE_PACKAGES


def row(system: str, concurrency: int, *per_second: float, precision: str = "int8") -> PeerRow:
    figures = {"per_second": per_second, "p50_ms": [1000 * concurrency / each for each in per_second]}
    return PeerRow(system, precision, concurrency, figures)


ROWS = [
    row("in process", 64, 1000.0, 1000.0, 500.0),
    row(OURS, 64, 800.0, 900.0, 300.0),
    row("fastapi", 64, 200.0, 300.0, 100.0),
    row("litserve", 64, 400.0, 500.0, 300.0),
    row("infinity", 64, 500.0, 450.0, 200.0),
    row(OURS, 1, 200.0, 210.0, 190.0),
    row("fastapi", 1, 250.0, 200.0, 190.0),
    row("fastapi in loop", 1, 400.0, 210.0, 380.0),
    row(OURS, 64, 1.0, 1.0, 1.0, precision="fp32"),
    row(SEARCH_OURS, 16, 80.0, 60.0, 40.0),
    row(SEARCH_NAIVE, 16, 20.0, 20.0, 20.0, precision="fp32"),
    row(SEARCH_OURS, 1, 10.0, 10.0, 10.0),
    row(SEARCH_NAIVE, 1, 20.0, 20.0, 20.0, precision="fp32"),
]


def found(to: str, concurrency: int) -> Ratio:
    (one,) = (
        one for one in ratios(ROWS) if (one.to, one.concurrency, one.precision) == (to, concurrency, "int8")
    )
    return one


def test_ratios_are_of_the_same_round_and_against_the_best_peer_of_each() -> None:
    best = found("best of litserve, infinity", 64)
    # 800 / 500, 900 / 500, 300 / 300: which peer is the best changes from round to round
    assert (best.spread.median, best.spread.least, best.spread.most) == (1.6, 1.0, 1.8)
    assert best.asked == 1.4
    assert found("in process", 64).spread.median == 0.8
    assert found("in process", 64).asked is None


def test_the_plain_baseline_is_a_target_at_1_and_the_naive_search_at_many() -> None:
    assert found("fastapi", 1).spread.median == 1.0
    assert (found("fastapi in loop", 1).spread.median, found("fastapi in loop", 1).asked) == (0.5, 1.0)
    assert (found("fastapi", 1).asked, found("fastapi", 64).asked) == (1.0, None)
    assert found(SEARCH_NAIVE, 16).spread.median == 3.0
    assert (found(SEARCH_NAIVE, 16).asked, found(SEARCH_NAIVE, 1).asked) == (4.0, None)


def test_precisions_are_never_mixed() -> None:
    assert not [one for one in ratios(ROWS) if one.precision == "fp32"]


def test_encoders_are_never_held_against_searches() -> None:
    assert not [one for one in ratios(ROWS) if "search" in one.to and one.precision != "int8"]
    assert len([one for one in ratios(ROWS) if one.to == SEARCH_NAIVE]) == 2


def test_the_report_names_spread_memory_and_versions() -> None:
    result = {
        "machine": "a machine",
        "rounds": 3,
        "seconds": 2,
        "versions": {"litserve": {"litserve": "1.2.3"}},
        "memory_mib": {"litserve int8": 300.4},
    }
    table = markdown(result, ROWS, ratios(ROWS))
    assert "| litserve | int8 | 64 | 400 (300 to 500) | 160.0 (128.0 to 213.3) |" in table
    assert "| best of litserve, infinity | int8 | 64 | 1.60 (1.00 to 1.80) | 1.4 |" in table
    assert "| litserve int8 | 300 |" in table
    assert "| litserve | litserve 1.2.3 |" in table
    assert json.loads(json.dumps(ROWS[1].as_dict()))["per_second_of_rounds"] == [800.0, 900.0, 300.0]


def test_bursts_keep_every_round() -> None:
    values = iter([3.0, 1.0, 2.0])
    target = Target("one", "text", "int8", 1, lambda: {"per_second": next(values)})
    assert list(bursts([target], 3, lambda _number, _target: None)) == [
        (target, {"per_second": [3.0, 1.0, 2.0]})
    ]


@pytest.mark.parametrize("name", [*PEERS, "naive"])
def test_every_package_of_a_peer_has_one_exact_version(name: str) -> None:
    lines = (SCRIPTS / name / "requirements.txt").read_text("utf-8").splitlines()
    named = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in named), named
    assert len(pins(name)) == len(named)
    assert set(NAIVE_PACKAGES if name == "naive" else PEERS[name]) <= set(pins(name))


def test_all_peers_run_the_same_onnx_runtime_as_our_steps() -> None:
    ours = (SCRIPTS.parent.parent / "serving" / "requirements.txt").read_text("utf-8")
    assert {pins(name)["onnxruntime"] for name in PEERS} == set(
        re.findall(r"^onnxruntime==(\S+)", ours, re.MULTILINE)
    )


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("fastapi", {"embedding": [0.5, 1.0]}),
        ("litserve", {"embedding": [0.5, 1.0]}),
        ("mlserver", {"outputs": [{"data": [0.5, 1.0], "shape": [1, 2]}]}),
        ("infinity", {"data": [{"embedding": [0.5, 1.0]}]}),
    ],
)
def test_vectors_are_read_from_each_peers_answer(name: str, answer: object) -> None:
    peer = HttpPeer(name, 1)
    np.testing.assert_array_equal(peer.vector(json.dumps(answer).encode()), np.float32([0.5, 1.0]))
    assert "a frog" in json.dumps(json.loads(peer.body("a frog")))
    assert peer.url.startswith("http://127.0.0.1:1/")
    with pytest.raises(ValueError, match="without an embedding"):
        peer.vector(b'{"error": "no"}')


def test_callers_share_the_texts_and_are_counted_after_the_warm_up() -> None:
    asked: list[str] = []

    def make() -> Caller:
        def ask(text: str) -> bool:
            time.sleep(0.002)
            asked.append(text)
            return text != "b"

        return ask

    figures = closed_loop(make, endless(["a", "b", "c"]), 2, 0.1)
    assert 0 < figures["per_second"] * 0.1 < len(asked)  # the warm-up's are not counted
    assert {"a", "b", "c"} == set(asked)
    assert figures["p50_ms"] >= 2
    assert 0.2 < figures["degraded"] < 0.5


def test_a_search_that_fails_ends_the_measurement() -> None:
    def broken() -> Caller:
        def ask(_text: str) -> bool:
            raise OSError("gone")

        return ask

    with pytest.raises(LoadError, match="gone"):
        closed_loop(broken, itertools.repeat("a"), 2, 0.05)


def test_peers_import_nothing_of_ours() -> None:
    rooms = {path.parent.name for path in Path().glob("*/__init__.py")}
    for script in SCRIPTS.rglob("*.py"):
        names = re.findall(r"^\s*(?:from|import) (\w+)", script.read_text("utf-8"), re.MULTILINE)
        assert not rooms & (set(names) - {script.parent.name}), script
