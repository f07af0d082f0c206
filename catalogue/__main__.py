"""`python -m catalogue`: build a catalogue to index."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from catalogue import debian, stamps_build
from catalogue import generate as generation
from catalogue.errors import CatalogueError, PackageUnavailableError
from catalogue.locks import exclusive
from catalogue.settings import CatalogueSettings
from catalogue.stamps import PACKAGE

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 3
"""The package cannot be fetched here; the generated catalogue is the fall-back."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def stamps(
    out: Annotated[Path | None, typer.Option(help="Folder to write. Default: catalogues/stamps.")] = None,
) -> None:
    """The real catalogue: pictures, sounds and clips from Debian's tuxpaint-stamps-default (GPL-2, fetched).

    Exit code 3 says that this machine cannot fetch it (no apt-get or no network).
    """
    settings = CatalogueSettings()
    target = (out or settings.catalogues / "stamps").resolve()
    with _told_errors(), _Bars() as bars, exclusive(target):
        debian.fetch(
            PACKAGE, settings.cache, lambda done, total: bars.step("package, MB", done >> 20, total >> 20)
        )
        bars.step("unpack", 0, 1)
        unpacked = debian.unpack(PACKAGE, settings.cache)
        bars.step("unpack", 1, 1)
        summary = stamps_build.build(unpacked, target, _processes(), bars.step)
    _report(target, summary, bars.seconds)


@app.command()
def generate(
    items: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many products.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another catalogue.")] = 7,
    out: Annotated[Path | None, typer.Option(help="Folder to write. Default: catalogues/generated.")] = None,
) -> None:
    """A catalogue of drawn products with known attributes; needs no network."""
    target = (out or CatalogueSettings().catalogues / "generated").resolve()
    with _told_errors(), _Bars() as bars, exclusive(target):
        summary = generation.generate(items, seed, target, _processes(), bars.step)
    _report(target, summary, bars.seconds)


class _Bars:
    """Progress on stderr, one bar per step; `step(what, done, total)`."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}
        self._started = time.monotonic()

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def step(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


@contextmanager
def _told_errors() -> Iterator[None]:
    try:
        yield
    except PackageUnavailableError as error:
        typer.echo(f"The stamps package is not available here: {error}", err=True)
        typer.echo("`python -m catalogue generate` makes a catalogue without it.", err=True)
        raise typer.Exit(EXIT_UNAVAILABLE) from error
    except CatalogueError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error


def _processes() -> int:
    return min(2, len(os.sched_getaffinity(0)))


def _report(target: Path, summary: dict[str, object], seconds: float) -> None:
    typer.echo(
        json.dumps({"manifest": str(target / "manifest.jsonl"), "seconds": round(seconds, 1), **summary})
    )


if __name__ == "__main__":
    sys.exit(app())
