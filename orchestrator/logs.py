"""JSON lines on standard error: what happened and how long it took, by request id; no content, no user."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

from orchestrator.settings import LogSettings

__all__ = ["configure", "describe"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_FRAMES = 5


def configure(settings: LogSettings) -> None:
    """Sets up structlog for the process, and what libraries log with it. Call it once, at start."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _without_messages, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, _LEVELS[settings.level]), force=True)


def _without_messages(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """What a library logs of an exception, without its message."""
    found = event.pop("exc_info", None)
    if isinstance(found, tuple) and isinstance(found[1], BaseException):
        event.update(describe(found[1]))
    return event


def describe(error: BaseException) -> dict[str, Any]:
    """An error for the log: types and places, of its causes too, but no messages, which may quote content."""
    chain: list[dict[str, Any]] = []
    seen: BaseException | None = error
    while seen is not None and len(chain) < _FRAMES:
        frames = traceback.extract_tb(seen.__traceback__)[-_FRAMES:]
        chain.append(
            {
                "type": type(seen).__qualname__,
                "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        seen = seen.__cause__ or seen.__context__
    return {"error": chain}
