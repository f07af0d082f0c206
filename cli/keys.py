"""`sensorium keys`: the API keys of a keys file. A running system takes a changed file within a second."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table

from cli.filters import FilterSyntaxError, parse_filters
from orchestrator.access.keys import Key, create_key, read_keys, revoke_key
from orchestrator.access.scopes import Scope
from orchestrator.errors import ConfigurationError
from orchestrator.settings import load_settings

__all__ = ["keys"]

keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys (docs/security.md).")
out = Console()
err = Console(stderr=True)

File = Annotated[
    Path | None,
    typer.Option("--file", help="The keys file; else SENSORIUM_ACCESS__KEYS_FILE.", show_default=False),
]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for: letters, digits and ._-")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="May be given several times.")],
    days: Annotated[int | None, typer.Option(min=1, help="Valid for so long.", show_default=False)] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="It sees only items that satisfy it; as of `search`.", show_default=False
        ),
    ] = None,
    users: Annotated[
        str, typer.Option(help="Set before the users it names, as acme:", show_default=False)
    ] = "",
    per_minute: Annotated[int | None, typer.Option(min=1, help="Requests.", show_default=False)] = None,
    file: File = None,
) -> None:
    """Add a key; it is shown once, on standard output, and kept nowhere."""
    try:
        parsed = parse_filters(filters or [])
        condition = None if parsed is None else MessageToDict(parsed)
        key, credential = create_key(
            _file(file),
            name,
            scope,
            expires=datetime.now(UTC) + timedelta(days=days) if days else None,
            condition=condition,
            users=users,
            per_minute=per_minute,
        )
    except FilterSyntaxError as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from error
    except ConfigurationError as error:
        raise _ended(error) from error
    err.print(f"key {key.id} ({key.name}): {', '.join(key.scopes)}", highlight=False)
    sys.stdout.write(f"{credential}\n")


@keys.command("list")
def list_keys(file: File = None) -> None:
    """What each key may do, and whether it still may."""
    try:
        found = read_keys(_file(file))
    except ConfigurationError as error:
        raise _ended(error) from error
    table = Table("id", "name", "scopes", "filter", "users", "per minute", "created", "state")
    for key in found:
        table.add_row(
            key.id,
            key.name,
            " ".join(key.scopes),
            json.dumps(key.filter) if key.filter else "",
            key.users,
            str(key.per_minute or ""),
            f"{key.created:%Y-%m-%d}",
            _state(key),
        )
    out.print(table)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `list` shows it.")], file: File = None) -> None:
    """End a key for good."""
    try:
        key = revoke_key(_file(file), key_id)
    except ConfigurationError as error:
        raise _ended(error) from error
    out.print(f"{key.id} ({key.name}): {_state(key)}", highlight=False)


def _state(key: Key) -> str:
    if key.revoked is not None:
        return f"revoked {key.revoked:%Y-%m-%d %H:%M}"
    if key.expires is None:
        return "valid"
    return f"{'expired' if key.expires <= datetime.now(UTC) else 'valid until'} {key.expires:%Y-%m-%d %H:%M}"


def _file(given: Path | None) -> Path:
    path = given or load_settings().access.keys_file
    if path is None:
        raise ConfigurationError("no keys file: give --file or set SENSORIUM_ACCESS__KEYS_FILE")
    return path


def _ended(error: ConfigurationError) -> typer.Exit:
    err.print(f"error: {error}", style="red", markup=False)
    return typer.Exit(1)
