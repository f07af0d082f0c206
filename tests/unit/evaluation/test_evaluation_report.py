"""Reports: tables, plots, what is added and what is put into a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from evaluation.__main__ import parse_options
from evaluation.client import EvaluationError
from evaluation.report import read_report, write_report
from evaluation.tables import BEGIN, END, insert, markdown

MEASURES = ("ndcg@5", "ndcg@10", "mrr", "p@1", "recall@100")
FIGURES: dict[str, Any] = {
    **dict.fromkeys(MEASURES, 0.5),
    **{f"{name}_ci95": [0.4, 0.6] for name in MEASURES},
    "queries": 9,
    "about": "test",
    "latency_ms": {
        name: {"p50": 1.0, "p95": 2.0} for name in ("embed", "embed/triton", "total", "client", "transcribe")
    },
    "degraded": 0,
    "per_query": {"q": dict.fromkeys(MEASURES, 0.5)},
}


def report() -> dict[str, Any]:
    return {
        "catalogue": {"items": 3, "split": "test", "of_split": 3},
        "embedding_version": "lite-1-0",
        "options": {"rerank": False},
        "headline": {"paraphrase": FIGURES, "clip": FIGURES | {"ndcg@10": 0.7}},
        "pairs": {
            "text->image": FIGURES | {"alignment": {"accuracy": 0.9, "accuracy_ci95": [0.8, 1.0]}},
            "image->text": FIGURES | {"ndcg@10": 0.1, "alignment": None},
        },
        "baselines": {
            "bm25": {"paraphrase": FIGURES | {"against_this_run_ci95": [-0.1, 0.1]}},
            "early": {},
        },
        "targets": {
            "headline": {"paraphrase": 0.76, "clip": 0.65},
            "pairs": {"text->image": 0.4, "image->text": 0.32},
        },
        "speech_share": {"ratio": 0.6, "ratio_ci95": [0.5, 0.7], "target": 0.8, "held_out": None},
    }


def test_the_tables_say_what_was_reached_and_what_was_missed() -> None:
    table = markdown(report())
    assert "| paraphrase | 9 | 0.500 | 0.400 to 0.600 |" in table
    assert "0.76: MISSED" in table
    assert "0.65: reached" in table
    assert "0.32: MISSED" in table
    assert "90% (80% to 100%)" in table
    assert "rerank off" in table
    assert "| query | embed | transcribe | total | client |" in table
    assert "reaches 60% of its text" in table
    assert "| paraphrase | 0.500 | 0.500 (-0.100 to +0.100) |" in table


def test_rows_have_as_many_cells_as_their_heads() -> None:
    width = 0
    for line in markdown(report()).splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        assert not width or cells == width, line
        width = cells


def test_a_report_is_written_with_plots_and_added_to(tmp_path: Path) -> None:
    out = tmp_path / "reports" / "evaluation.json"
    _, written = write_report(report(), out)
    assert json.loads(out.read_text())["pairs"]["text->image"]["ndcg@10"] == 0.5
    assert {path.name for path in written} == {
        "evaluation.json",
        "evaluation.md",
        "evaluation-headline.png",
        "evaluation-pairs.png",
    }
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in written if path.suffix == ".png")
    curve = {
        f"paraphrase {step}": {
            "kind": "paraphrase",
            "lambda": step,
            "ndcg@10": step,
            "ndcg@10_ci95": [0.0, 1.0],
            "alpha-ndcg@10": 0.5,
            "distance": 1 - step,
        }
        for step in (0.0, 0.5, 1.0)
    }
    whole, written = write_report({"diversity": curve}, out, add=True)
    assert set(whole) == {*report(), "diversity"}
    assert "evaluation-diversity.png" in {path.name for path in written}
    assert "diversity" not in write_report(report(), out)[0]


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[]")
    with pytest.raises(EvaluationError, match="no report"):
        read_report(bad)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_report(tmp_path / "missing.json")


def test_tables_go_between_the_marks_of_a_document(tmp_path: Path) -> None:
    document = tmp_path / "relevance.md"
    document.write_text(f"before\n\n{BEGIN}\nold\n{END}\nafter\n")
    insert(report(), document)
    insert(report(), document)
    text = document.read_text()
    assert text.startswith("before\n\n" + BEGIN)
    assert text.endswith(END + "\nafter\n")
    assert "old" not in text
    assert text.count("### Query -> item\n") == 1
    document.write_text("no marks")
    with pytest.raises(EvaluationError, match="has no"):
        insert(report(), document)


def test_options_are_stages_of_the_api() -> None:
    assert parse_options("rerank=false,expand=true") == {"rerank": False, "expand": True}
    assert parse_options("") == {}
    for bad in ("rerank", "rerank=0", "magic=true"):
        with pytest.raises(typer.BadParameter):
            parse_options(bad)
