"""Measure a running system through its public API, and show what was measured.

    python -m evaluation relevance|attributes|diversity --grpc 127.0.0.1:8081 --catalogue <manifest>
        [--options rerank=false,expand=true] [--quick] [--out reports/evaluation.json]
    python -m evaluation speech --grpc 127.0.0.1:8081 --triton 127.0.0.1:8001 --catalogue <manifest>
    python -m evaluation compare A.json B.json
    python -m evaluation markdown A.json [--into docs/relevance.md]

Exit codes: 0 measured, whatever was found; 1 it could not be measured; 2 wrong arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from catalogue.errors import CatalogueError
from catalogue.settings import CatalogueSettings
from evaluation.client import EvaluationError
from evaluation.compare import compare, comparison_table
from evaluation.figures import Progress as Told
from evaluation.report import read_report, write_report
from evaluation.sessions import run_sessions
from evaluation.sessions_report import sessions_markdown, write_sessions
from evaluation.standing import ask_standing
from evaluation.tables import insert, markdown
from queries import QueriesError
from sensorium.v1 import sensorium_pb2 as pb

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True)


class Side(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def parse_options(text: str) -> dict[str, bool]:
    """ "rerank=false,expand=true" as a mapping. Raises typer.BadParameter for anything else."""
    known = set(pb.SearchOptions.DESCRIPTOR.fields_by_name)
    found = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        if name not in known or value not in ("true", "false"):
            raise typer.BadParameter(f"{pair!r}: one of {', '.join(sorted(known))}, and =true or =false")
        found[name] = value == "true"
    return found


Catalogue = Annotated[Path, typer.Option(help="The manifest of what is indexed.")]
Target = Annotated[str, typer.Option(help="Where the system's gRPC API listens.")]
Out = Annotated[Path, typer.Option(help="JSON to write or add to; .md and .png go beside it.")]
Split = Annotated[
    Side, typer.Option(help="Whose queries are asked; nothing may be chosen by the test split's.")
]
Options = Annotated[
    str, typer.Option(metavar="NAME=BOOL,...", help="Stages to ask for or to forgo: rerank, expand, ...")
]
Quick = Annotated[bool, typer.Option("--quick", help="A few queries of each kind, always the same.")]
DEFAULT_TARGET = "127.0.0.1:8081"
DEFAULT_OUT = Path("reports/evaluation.json")


@app.callback()
def evaluation() -> None:
    """Measure a running system through its public API."""


@app.command()
def relevance(
    catalogue: Catalogue,
    grpc: Target = DEFAULT_TARGET,
    out: Out = DEFAULT_OUT,
    split: Split = Side.TEST,
    options: Options = "",
    quick: Quick = False,
    release: Annotated[str, typer.Option(help="The release that is to answer.")] = "",
) -> None:
    """Made queries -> items, every pair of modalities, and baselines, on the stamps."""
    from evaluation.relevance import evaluate

    _measure(
        out,
        False,
        lambda told: evaluate(
            grpc, catalogue, CatalogueSettings(), told, split.value, parse_options(options), quick, release
        ),
    )


@app.command()
def attributes(
    catalogue: Catalogue,
    grpc: Target = DEFAULT_TARGET,
    out: Out = DEFAULT_OUT,
    options: Options = "",
    quick: Quick = False,
) -> None:
    """Attributes and compositions, on the generated catalogue; added to what `out` has."""
    from evaluation.attributes import evaluate_attributes

    _measure(
        out,
        True,
        lambda told: evaluate_attributes(
            grpc, catalogue, CatalogueSettings(), told, parse_options(options), quick
        ),
    )


@app.command()
def diversity(
    catalogue: Catalogue,
    grpc: Target = DEFAULT_TARGET,
    out: Out = DEFAULT_OUT,
    split: Split = Side.TEST,
    options: Options = "",
    quick: Quick = False,
) -> None:
    """Diversity against relevance for MMR's lambda from 0 to 1, on the stamps; added to what `out` has."""
    from evaluation.diversity import measure_diversity

    _measure(
        out,
        True,
        lambda told: measure_diversity(
            grpc, catalogue, CatalogueSettings(), told, split.value, parse_options(options), quick
        ),
    )


@app.command()
def speech(
    catalogue: Catalogue,
    grpc: Target = DEFAULT_TARGET,
    triton: Annotated[str, typer.Option(help="Where Triton's gRPC listens.")] = "127.0.0.1:8001",
    out: Out = DEFAULT_OUT,
    split: Split = Side.TEST,
    quick: Quick = False,
) -> None:
    """Word error rate of spoken queries, with the vocabulary and without; added to what `out` has."""
    from evaluation.speech import measure_speech

    _measure(
        out,
        True,
        lambda told: measure_speech(grpc, triton, catalogue, CatalogueSettings(), told, split.value, quick),
    )


@app.command("compare")
def compare_reports(
    before: Path,
    after: Path,
    measure: Annotated[str, typer.Option(help="What the table shows.")] = "ndcg@10",
    out: Annotated[Path | None, typer.Option(help="JSON with every measure.")] = None,
) -> None:
    """The second report against the first, query by query, with 95 % intervals of the difference."""
    with _told_errors():
        found = compare(read_report(before), read_report(after))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(comparison_table(found, measure))


@app.command("markdown")
def tables(
    report: Path,
    into: Annotated[
        Path | None, typer.Option(help="A document with the two marks to put them between.")
    ] = None,
) -> None:
    """The tables of a report, written again from its JSON."""
    with _told_errors():
        found = read_report(report)
        if into:
            insert(found, into)
        else:
            sys.stdout.write(markdown(found))


def _measure(out: Path, add: bool, measure: Callable[[Told], dict[str, Any]]) -> None:
    with _told_errors():
        with _bars() as progress:
            sections = measure(progress)
        report, written = write_report(sections, out, add)
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
def _told_errors() -> Iterator[None]:
    try:
        yield
    except (EvaluationError, CatalogueError, QueriesError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)


@contextmanager
def _bars() -> Iterator[Told]:
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


if __name__ == "__main__":
    app()
