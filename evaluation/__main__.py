"""`python -m evaluation relevance --grpc 127.0.0.1:8081 --catalogue <manifest> --out
reports/evaluation.json`.

Exit codes: 0 measured, whatever was found; 1 it could not be measured; 2 wrong arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from catalogue.errors import CatalogueError
from evaluation.client import EvaluationError
from evaluation.relevance import Progress as Told
from evaluation.relevance import evaluate
from evaluation.report import markdown, write_report
from evaluation.sessions import run_sessions
from evaluation.sessions_report import sessions_markdown, write_sessions
from evaluation.standing import ask_standing

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True)


@app.callback()
def evaluation() -> None:
    """Measure a running system through its public API."""


@app.command()
def relevance(
    catalogue: Annotated[Path, typer.Option(help="The manifest of what is indexed: the stamps.")],
    grpc: Annotated[str, typer.Option(help="Where the system's gRPC API listens.")] = "127.0.0.1:8081",
    out: Annotated[Path, typer.Option(help="JSON to write; .md and .png go beside it.")] = Path(
        "reports/evaluation.json"
    ),
) -> None:
    """NDCG, MRR, P@1 and recall per pair of query and item modality, on the test split."""
    try:
        with _bars() as progress:
            report = evaluate(grpc, catalogue, progress)
    except (EvaluationError, CatalogueError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)
    written = write_report(report, out)
    sys.stdout.write(markdown(report))
    console.print("written: " + ", ".join(str(path) for path in written))


@app.command()
def users(
    catalogue: Annotated[Path, typer.Option(help="The manifest of what is indexed: a generated catalogue.")],
    grpc: Annotated[str, typer.Option(help="Where the system's gRPC API listens.")] = "127.0.0.1:8081",
    of_each: Annotated[int, typer.Option(min=2, help="Users of each kind of taste.")] = 10,
    sessions: Annotated[int, typer.Option(min=2, help="Sessions of each user.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Other users, other clicks.")] = 0,
    keep: Annotated[bool, typer.Option(help="Do not erase the users at the end.")] = False,
    out: Annotated[Path, typer.Option(help="JSON to write; .md and .png go beside it.")] = Path(
        "reports/users.json"
    ),
) -> None:
    """Simulated users with known tastes: what personalisation is worth, session after session."""
    try:
        with _bars() as progress:
            report = run_sessions(grpc, catalogue, of_each, sessions, seed, keep, progress)
    except (EvaluationError, CatalogueError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)
    written = write_sessions(report, out)
    sys.stdout.write(sessions_markdown(report))
    console.print("written: " + ", ".join(str(path) for path in written))


@app.command()
def standing(
    catalogue: Annotated[Path, typer.Option(help="The manifest of what is indexed: the stamps.")],
    grpc: Annotated[str, typer.Option(help="Where the system's gRPC API listens.")] = "127.0.0.1:8081",
    out: Annotated[Path, typer.Option(help="JSON to write.")] = Path("reports/standing.json"),
) -> None:
    """Ask the validation queries that `python -m training feedback` must not make worse."""
    try:
        with _bars() as progress:
            asked = ask_standing(grpc, catalogue, out, progress)
    except (EvaluationError, CatalogueError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)
    console.print(f"{asked} queries written: {out}")


@contextmanager
def _bars() -> Iterator[Told]:
    columns = (TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


app()
