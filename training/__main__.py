"""What is learned, written to training/checkpoints/<profile>/.

python -m training finetune                                 the image encoder's last blocks, by hand and first
python -m training finetune-text                            the text encoder, by hand and first
python -m training --profile lite                           the heads and the calibration
python -m training adapters --profile reference             adapters of encoders from elsewhere
python -m training fusion --grpc HOST:PORT --catalogue ...  weights of evidence, on what a system finds
python -m training rerank --grpc HOST:PORT --triton ...     the re-ranker, on what a system finds
python -m training speech                                   whether anybody speaks in a sound
python -m training attend                                   attention fusion of a query's parts
python -m training feedback                                 what personalisation weighs, from clicks

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
from export.profile import Origin, load_profile
from export.settings import Settings
from queries import QueriesError
from training.errors import TrainingError
from training.finetune import finetune
from training.finetune_text import finetune_text
from training.fusion_run import learn_fusion
from training.retrain import Verdict, retrain
from training.run import train
from training.speech_detection import learn_speech
from training.standing import read_standing

MAX_THREADS = 8

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


Profile = Annotated[str, typer.Option(help="A profile of export/profiles.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed, other random numbers.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context, profile: Profile = "lite", seed: Seed = 0) -> None:
    """Train on the train split, choose on validation; the test split is not looked at."""
    if context.invoked_subcommand is not None:
        return
    with _failing(), _bars() as progress:
        metrics = train(profile, Settings(), _threads(), progress, seed)
    _show(metrics)


@app.command("adapters")
def adapters_command(
    profile: Profile = "reference",
    weights_from: Annotated[
        Path | None,
        typer.Option(file_okay=False, exists=True, help="Weights of hubs from FOLDER/<source>/<file>."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Adapters of a profile's frozen encoders into one space, on the stamps."""
    from training.adapter_run import train_adapters

    origin = Origin(kind="folder", folder=weights_from.absolute()) if weights_from else Origin()
    with _failing(), _bars() as progress:
        metrics = train_adapters(load_profile(profile, origin), Settings(), _threads(), progress, seed)
    table = Table("graph", "learned from", "NDCG@10 at first", "trained", title="Validation, with texts")
    for name, found in metrics["graphs"].items():
        row = found["inputs"], f"{found['curve'][0][2]:.3f}", f"{found['ndcg@10']:.3f}"
        table.add_row(name, *map(str, row))
    Console().print(table)


@app.command("finetune")
def finetune_command(profile: Profile = "lite", seed: Seed = 0) -> None:
    """Fine-tune the image encoder on drawings from elsewhere; train the heads again afterwards."""
    with _failing(), _bars() as progress:
        found = finetune(profile, Settings(), _threads(), progress, seed)
    table = Table("share of the way", "NDCG@10", title="Stamps of train and validation, none trained on")
    for share, figure in found["figure_by_share"].items():
        table.add_row(share, f"{figure:.3f}")
    Console().print(table)


@app.command("finetune-text")
def finetune_text_command(profile: Profile = "lite", seed: Seed = 0) -> None:
    """Fine-tune the text encoder on WordNet's nouns; train the heads again afterwards."""
    with _failing(), _bars() as progress:
        found = finetune_text(profile, Settings(), _threads(), progress, seed)
    table = Table("share of the way", "NDCG@10", title="Paraphrases of train and validation stamps")
    for share, figure in found["figure_by_share"].items():
        table.add_row(share, f"{figure:.3f}")
    Console().print(table)


@app.command()
def rerank(
    grpc: Annotated[str, typer.Option(help="A system with the train and validation items, and no others.")],
    triton: Annotated[str, typer.Option(help="Its Triton, host:port of gRPC.")],
    profile: Profile = "lite",
    seed: Seed = 0,
) -> None:
    """The re-ranker, on what a running system finds; `make rerank` starts one."""
    from training.rerank_run import train_reranker

    with _failing(), _bars() as progress:
        metrics = train_reranker(profile, Settings(), grpc, triton, _threads(), progress, seed)
    Console().print(metrics["table"], markup=False, highlight=False)


@app.command()
def attend(profile: Profile = "lite", seed: Seed = 0) -> None:
    """Attention fusion of a query's parts, on generated products and stamps."""
    from training.attend_run import train_attention

    with _failing(), _bars() as progress:
        metrics = train_attention(profile, Settings(), _threads(), progress, seed)
    Console().print(metrics["table"], markup=False, highlight=False)


@app.command()
def speech(profile: Profile = "lite", seed: Seed = 0) -> None:
    """Whether anybody speaks in a sound, so that transcription does not hear words in noises."""
    with _failing(), _bars() as progress:
        learned = learn_speech(profile, Settings(), progress, seed)
    table = Table("held out", "sounds", "listened to")
    for name, each in learned["held_out"].items():
        table.add_row(name, str(each["of"]), str(each["listened_to"]))
    Console().print(table)


def _threads() -> int:
    return min(os.cpu_count() or 1, MAX_THREADS)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (TrainingError, ExportError, CatalogueError, QueriesError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)


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
    with _failing():
        verdict = retrain(
            settings.home / "data" / "feedback.sqlite", current, read_standing(standing), out, seed
        )
    _tell(verdict, out)


@app.command()
def fusion(
    grpc: Annotated[
        str, typer.Option(help="Where the system's gRPC API listens; it must not fuse by weights.")
    ],
    catalogue: Annotated[Path, typer.Option(help="The manifest of what is indexed: the stamps.")],
    profile: Profile = "lite",
    seed: Seed = 0,
) -> None:
    """Learn what the evidence of each pair of modalities counts for."""
    with _failing(), _bars() as progress:
        content = learn_fusion(profile, grpc, catalogue, Settings(), progress, seed)
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
