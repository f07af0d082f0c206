"""`sensorium`: start and stop the embedded system, index a catalogue, search it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format
from rich.console import Console

from catalogue import CatalogueError, is_plain_folder, read_catalogue
from cli import release
from cli.client import Client, ClientError
from cli.filters import FilterSyntaxError, parse_filters
from cli.glance import glance_table, scrape
from cli.indexing import index_items
from cli.keys import keys
from cli.processes import ProcessError
from cli.stack import Stack, StackError
from cli.tables import hits_table, status_table
from orchestrator.errors import ConfigurationError
from orchestrator.settings import load_settings
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(release.app, name="release")
app.add_typer(keys, name="keys")
out = Console()
err = Console(stderr=True)

Target = Annotated[
    str | None, typer.Option("--target", help="host:port of another system's gRPC API.", show_default=False)
]
File = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, readable=True, show_default=False)]
ToJson = Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")]


@app.command()
def up(
    allow_random: Annotated[
        bool, typer.Option("--allow-random", help="Serve weights that were never trained, if there are any.")
    ] = False,
) -> None:
    """Start Triton, Milvus and the orchestrator in the background; return when all answer."""
    with reported():
        allowed = {"SENSORIUM_ALLOW_RANDOM": "true"} if allow_random else {}
        stack = Stack(load_settings(), {**os.environ, **allowed})
        with err.status("starting") as line:
            stack.up(lambda what, elapsed_s: line.update(f"waiting for {what} ({elapsed_s:.0f} s)"))
        out.print(status_table(stack.status()))
        out.print(f"search page {stack.page}   gRPC {stack.target}")


@app.command()
def index(path: Annotated[Path, typer.Argument(exists=True)], target: Target = None) -> None:
    """Index a JSONL manifest or a folder of media. It may be interrupted and repeated.

    In a folder, a file that cannot be read or indexed is named and passed over; its item keeps the others.
    """
    with reported(), Client(target or Stack(load_settings()).target) as client:
        folder = path.resolve() if path.is_dir() else path.resolve().parent

        def tell(line: str) -> None:
            err.print(line, markup=False, highlight=False, soft_wrap=True)

        def named(file: Path) -> str:
            return str(file.relative_to(folder) if file.is_relative_to(folder) else file)

        items = list(
            read_catalogue(path, lambda error: tell(f"passed over {named(error.path)}: {error.reason}"))
        )
        summary = index_items(client, items, err, lenient=is_plain_folder(path))
        for media in summary.passed_over:
            name = named(media.path) if media.path else "a text"
            tell(f"passed over {name} ({media.item_id}): {media.error.code}: {media.error.message}")
        for result in summary.refused:
            error = result.error
            file = summary.refused_files.get(result.id)
            if file is not None:
                what = f"{named(file)} ({result.id})"
            else:
                what = f"{result.id} media {error.part}" if error.HasField("part") else result.id
            tell(f"refused {what}: {error.code}: {error.message}")
        out.print(summary.line())
        if summary.refused:
            raise typer.Exit(1)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(show_default=False)] = None,
    image: File = None,
    audio: File = None,
    video: File = None,
    without: Annotated[
        str | None, typer.Option("--not", help="Words for what is not wanted.", show_default=False)
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="category=a,b  tags=a,b  price=5..20  available  !...", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 10,
    to_json: ToJson = False,
    target: Target = None,
) -> None:
    """Search by text, an image, a sound, a video, or several of them at once."""
    with reported():
        parts = [pb.QueryPart(text=text)] if text is not None else []
        # What a file is, its content says; the options only tell a reader of the command what is meant.
        parts += [pb.QueryPart(data=file.read_bytes()) for file in (image, audio, video) if file]
        if without is not None:
            parts.append(pb.QueryPart(text=without, weight=-1.0))
        if not parts:
            raise typer.BadParameter("give a text, --image, --audio, --video or --not")
        request = pb.SearchRequest(parts=parts, filter=parse_filters(filters or []), limit=limit)
        with Client(target or Stack(load_settings()).target) as client:
            response = client.search(request)
        if to_json:
            sys.stdout.write(json_format.MessageToJson(response) + "\n")
        else:
            out.print(hits_table(response, title=text or "by example"))


@app.command()
def status(to_json: ToJson = False, target: Target = None) -> None:
    """What runs, with which weights, how much is indexed, and, of the system here, how it does."""
    with reported():
        stack = Stack(load_settings())
        with Client(target or stack.target) as client:
            answer = client.status()
        if to_json:
            sys.stdout.write(json_format.MessageToJson(answer) + "\n")
            return
        out.print(status_table(answer))
        if target is None and (first := scrape(f"{stack.page}/metrics")) is not None:
            time.sleep(1)
            last = scrape(f"{stack.page}/metrics")
            out.print(glance_table(first, last or first, scrape(stack.triton_metrics), stack.memory_bytes()))


@app.command()
def down() -> None:
    """Stop what `up` started; what is indexed stays."""
    with reported():
        stopped = Stack(load_settings()).down()
        out.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Known errors end the command with one line and code 1; a wrong word on the command line with code 2."""
    try:
        yield
    except FilterSyntaxError as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from error
    except (CatalogueError, ClientError, ConfigurationError, ProcessError, StackError) as error:
        err.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
