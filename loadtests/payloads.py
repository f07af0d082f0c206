"""The queries to send: a folder with `index.json` and the files that it names, made once by `prepare.py`.

The folder holds all that is needed, so that it can be carried to the machine that makes the load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.errors import PayloadsError

__all__ = ["INDEX", "Payloads", "read_payloads"]

INDEX = "index.json"


@dataclass(frozen=True)
class Payloads:
    """Queries by modality: UTF-8 text, or the bytes of an encoded file. `made` says of what."""

    queries: Mapping[str, tuple[bytes, ...]]
    made: Mapping[str, object]

    @property
    def pools(self) -> dict[str, int]:
        """How many there are of each modality."""
        return {modality: len(each) for modality, each in self.queries.items()}


def read_payloads(folder: Path) -> Payloads:
    """Everything into memory, so that sending reads no file.

    Raises:
        PayloadsError: the folder is not what `python -m loadtests.prepare` makes.
    """
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        queries = {
            modality: tuple(
                each["text"].encode() if "text" in each else (folder / each["file"]).read_bytes()
                for each in entries
            )
            for modality, entries in index["queries"].items()
        }
        return Payloads(queries, index["made"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PayloadsError(f"{folder}: no payloads ({error}): run python -m loadtests.prepare") from error
