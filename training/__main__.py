"""`python -m training --profile lite`: learn the heads and the calibration, write
training/checkpoints/<profile>/. `python -m training fusion --grpc HOST:PORT --catalogue MANIFEST`: learn
fusion from a running system. `python -m training feedback`: learn from the clicks of a system's users.

Exit codes: 0 done, also when the gate kept what was in force; 1 something could not be had or read; 2 wrong
arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalogue.errors import CatalogueError
from export.errors import ExportError
from export.settings import Settings
from queries import QueriesError
from training.errors import TrainingError
from training.fusion_run import learn_fusion
from training.retrain import Verdict, retrain
from training.run import train
from training.standing import read_standing

MAX_THREADS = 8

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    profile: Annotated[str, typer.Option(help="A profile of export/profiles.")] = "lite",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other random numbers.")] = 0,
) -> None:
    """Train on the train split, choose on validation; the test split is not looked at."""
    if context.invoked_subcommand is not None:
        return
    threads = min(os.cpu_count() or 1, MAX_THREADS)
    try:
        with _bars() as progress:
            metrics = train(profile, Settings(), threads, progress, seed)
    except (TrainingError, ExportError, CatalogueError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)
    _show(metrics)


@app.command()
def feedback(
    standing: Annotated[Path, typer.Option(help="What `python -m evaluation standing` wrote.")] = Path(
        "reports/standing.json"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other sessions held out.")] = 0,
) -> None:
    """Learn what personalisation should weigh from feedback; promote it only if it is better."""
    settings = Settings()
    out = settings.home / "data" / "personalise.json"
    current = out if out.is_file() else settings.model_repository / "personalise.json"
    try:
        verdict = retrain(
            settings.home / "data" / "feedback.sqlite", current, read_standing(standing), out, seed
        )
    except TrainingError as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)
    _tell(verdict, out)


@app.command()
def fusion(
    grpc: Annotated[
        str, typer.Option(help="Where the system's gRPC API listens; it must not fuse by weights.")
    ],
    catalogue: Annotated[Path, typer.Option(help="The manifest of what is indexed: the stamps.")],
    profile: Annotated[str, typer.Option(help="A profile of export/profiles.")] = "lite",
    seed: Annotated[int, typer.Option(min=0, help="Other queries and folds.")] = 0,
) -> None:
    """Learn what the evidence of each pair of modalities counts for."""
    try:
        with _bars() as progress:
            content = learn_fusion(profile, grpc, catalogue, Settings(), progress, seed)
    except (TrainingError, QueriesError, CatalogueError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)
    _show_fusion(content)


@contextmanager
def _bars() -> Iterator[Any]:
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


def _tell(verdict: Verdict, out: Path) -> None:
    table = Table(
        "weight", "learned", title=f"From {verdict.learned_from} sessions, {verdict.held_out} held out"
    )
    for name, value in {**verdict.weights.features, **verdict.weights.pairs}.items():
        table.add_row(name, f"{value:.3f}")
    table.add_row("looks by place", " ".join(f"{value:.2f}" for value in verdict.examination))
    output = Console()
    output.print(table)
    low, high = verdict.gain_ci95
    output.print(f"gain on held-out sessions {verdict.gain:+.4f} ({low:+.4f} to {high:+.4f})")
    if verdict.standing is not None and verdict.standing_ci95 is not None:
        low, high = verdict.standing_ci95
        output.print(f"standing queries {verdict.standing:+.4f} NDCG@10 ({low:+.4f} to {high:+.4f})")
    if verdict.promoted:
        output.print(f"promoted: {verdict.why}; {out} is in force from the next start")
    else:
        output.print(f"not promoted, nothing was changed: {verdict.why}")


def _show(metrics: dict[str, Any]) -> None:
    out = Console()
    table = Table("NDCG@10", "text -> image", "image -> text", title="Cross-validated on train + validation")
    for name, score in metrics["ablation_cross_validated"].items():
        table.add_row(name, f"{score['text_to_image']:.3f}", f"{score['image_to_text']:.3f}")
    out.print(table)
    table = Table("pair", "NDCG@10", "queries", "gallery", title="Validation, heads as they are served")
    for name, figure in metrics["validation"].items():
        table.add_row(name, f"{figure['ndcg@10']:.3f}", str(figure["queries"]), str(figure["gallery"]))
    out.print(table)


def _show_fusion(content: dict[str, Any]) -> None:
    out = Console()
    table = Table("query", "queries", "NDCG@10 before", "after", "ECE before", "after", title="Validation")
    for modality, figure in content["figures"].items():
        before, after = (
            figure["noisy-or"],
            figure["learned" if modality in content["fusion"] else "calibrated"],
        )
        table.add_row(
            modality,
            str(figure["queries"]),
            f"{before['ndcg@10']:.3f}",
            f"{after['ndcg@10']:.3f}",
            f"{before['ece_top10']:.3f}",
            f"{after['ece_top10']:.3f}",
        )
    out.print(table)


app()
