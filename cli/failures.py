"""How a command that fails ends: one line for a terminal, and a code, in place of a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from rich.console import Console

from benchmarks.load import LoadError
from catalogue import CatalogueError
from cli.client import ClientError
from cli.fault_kinds import FaultError
from cli.milvus_server import MilvusServerError
from cli.processes import ProcessError
from cli.stack import StackError
from orchestrator.errors import ConfigurationError
from releases.errors import ReleaseError

__all__ = ["KNOWN", "exit_code"]

KNOWN = (
    CatalogueError,
    ClientError,
    ConfigurationError,
    FaultError,
    FileNotFoundError,
    LoadError,
    MilvusServerError,
    ProcessError,
    ReleaseError,
    StackError,
)
"""What a person can mend; the message says how."""


def exit_code(work: Callable[[], int]) -> int:
    """That of `work`, 130 where it is interrupted, 1 where it ends with a known error, which is printed.

    Call it in the main thread: SIGTERM ends `work` by SystemExit, so that it stops what it has started.
    """
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except KNOWN as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
