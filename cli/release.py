"""`sensorium release`: immutable sets of models and parameters: staged, tried, swapped, taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from cli.catalogues import demo_manifest
from cli.client import Client, ClientError, NotRunningError
from cli.release_tables import history_table, manifest_table, releases_table
from cli.stack import Stack
from orchestrator.errors import ConfigurationError
from orchestrator.settings import Settings, load_settings
from releases.errors import ReleaseError
from releases.manifest import create as make
from releases.manifest import load, names
from releases.state import Bounds, read_state
from sensorium.v1 import sensorium_pb2 as pb

if TYPE_CHECKING:
    from cli.releasing import Releasing

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Immutable releases: make, try, swap, take back.")
out = Console()
err = Console(stderr=True)

MILVUS = Path(__file__).resolve().parent.parent / "milvus"
Name = Annotated[str, typer.Argument(help="1 to 32 of a-z, 0-9 and -.")]


@app.command()
def create(
    name: Name,
    repository: Annotated[
        Path | None,
        typer.Option(file_okay=False, exists=True, show_default=False, help="Another one."),
    ] = None,
    note: Annotated[str, typer.Option(help="Whatever you want to remember of it.")] = "",
) -> None:
    """Make a release of what the model repository serves now. It never changes afterwards."""
    with _reported():
        settings = load_settings()
        source = repository or settings.model_repository
        learned = settings.home / "data" / "personalise.json"
        strengths = learned if learned.is_file() and repository is None else source / "personalise.json"
        manifest = make(settings.home.absolute(), name, source.absolute(), MILVUS, strengths, note)
        out.print(manifest_table(manifest, None))


@app.command()
def stage(
    name: Name,
    catalogue: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, show_default=False, help="Manifest of what is indexed."),
    ] = None,
    skip_relevance: Annotated[
        bool, typer.Option("--skip-relevance", help="Where what is indexed has no judgements.")
    ] = False,
) -> None:
    """Load a release beside what answers and hold it to the gate. Whoever names it is answered by it."""
    with _reported():
        settings = load_settings()
        with err.status("staging") as line:
            figures = _releasing(settings, line.update).stage(
                name, catalogue or demo_manifest(settings.home), relevance=not skip_relevance
            )
        for figure in figures:
            out.print(str(figure), markup=False, highlight=False)
        out.print(f"staged {name}" + (", relevance not measured" if skip_relevance else ""))


@app.command()
def canary(
    name: Name,
    percent: Annotated[float, typer.Option(min=0, max=100, help="Of the users; 0 ends it.")],
    bounds: Annotated[
        str, typer.Option(metavar="NAME=NUMBER,...", help="latency_ratio, error_rate, score_drift, ...")
    ] = "",
) -> None:
    """Let a staged release answer a share of the users; past its bounds it is taken back by itself."""
    with _reported():
        pairs = dict(pair.partition("=")[::2] for pair in filter(None, bounds.split(",")))
        try:
            checked = Bounds.model_validate(pairs)
        except ValidationError as error:
            first = error.errors()[0]
            raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        _releasing(load_settings()).canary(name, percent, checked)
        out.print(
            f"{name} answers {percent:g} % of the users" if percent else f"{name} is no canary any more"
        )


@app.command()
def promote(name: Name) -> None:
    """Make a staged release the current one; those that are neither it nor the one before are unloaded."""
    with _reported():
        with err.status("promoting") as line:
            _releasing(load_settings(), line.update).promote(name)
        out.print(f"current: {name}")


@app.command()
def unstage(name: Name) -> None:
    """Unload a staged release that is neither current nor the one before; its files stay."""
    with _reported():
        with err.status("unloading") as line:
            _releasing(load_settings(), line.update).unstage(name)
        out.print(f"unstaged {name}")


@app.command()
def rollback(why: Annotated[str, typer.Option(help="For the history.")] = "") -> None:
    """Go back to the release before. A second time: forth again."""
    with _reported():
        releasing = _releasing(load_settings())
        state = releasing.rollback(why)
        out.print(f"current: {state.current or releasing.own}")


@app.command("list")
def list_() -> None:
    """All releases, what each is for, and the last changes."""
    with _reported():
        settings = load_settings()
        home = settings.home.absolute()
        state = read_state(home)
        out.print(releases_table([load(home, name) for name in names(home)], state, _status(settings)))
        if state.history:
            out.print(history_table(state))


@app.command()
def show(name: Name) -> None:
    """What a release consists of, and how a canary compares."""
    with _reported():
        settings = load_settings()
        status = _status(settings)
        release = status.releases[name] if status and name in status.releases else None
        out.print(manifest_table(load(settings.home.absolute(), name), release))


def _releasing(settings: Settings, tell: Callable[[str], None] = lambda _line: None) -> Releasing:
    from cli.releasing import Releasing  # ONNX Runtime and what encodes clips: not for `list`

    return Releasing(settings, MILVUS, Stack(settings).target, tell)


def _status(settings: Settings) -> pb.Status | None:
    """None when the system does not run."""
    try:
        with Client(Stack(settings).target) as client:
            return client.status()
    except NotRunningError:
        return None


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (ClientError, ConfigurationError, FileNotFoundError, ReleaseError) as error:
        err.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
