"""What was done to the catalogue and to users, by whom, and who was refused: one JSON object a line.

Never a credential, content or a user's name; ids of items only where they were deleted.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from orchestrator.errors import ConfigurationError

__all__ = ["Audit"]

_FILE_BYTES = 16 * 1024 * 1024
_OLD_FILES = 9


class Audit:
    """Writes to ``file``, rotated at 16 MiB with nine old ones kept, or to standard error beside the log.

    Whatever level the log has, lines of the audit are written. A line that cannot be written is reported on
    standard error and lost; the call that it is about is not undone. ``close`` it at the end.

    Raises:
        ConfigurationError: the file cannot be opened.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._handler: logging.Handler
        if file is None:
            self._handler = logging.StreamHandler(sys.stderr)
        else:
            try:
                self._handler = RotatingFileHandler(
                    file, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8"
                )
            except OSError as error:
                raise ConfigurationError(f"the audit file {file} cannot be written") from error

    def write(self, call: str, caller: str, outcome: str, **more: object) -> None:
        """One line; ``caller`` is a key's id or a token's subject, "" for nobody who is known."""
        line = {
            "event": "audit",
            "timestamp": datetime.now(UTC).isoformat(),
            "call": call,
            "caller": caller,
            "outcome": outcome,
            **more,
        }
        self._handler.handle(
            logging.LogRecord("audit", logging.INFO, "", 0, json.dumps(line), args=None, exc_info=None)
        )

    def close(self) -> None:
        """Closes the file."""
        self._handler.close()
