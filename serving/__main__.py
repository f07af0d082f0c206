"""`python -m serving install`, `python -m serving run` and `python -m serving flags`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

import structlog
from pydantic import ValidationError

from serving.errors import ServingError
from serving.flags import container_flags
from serving.install import check_installed, install
from serving.settings import Settings
from serving.supervisor import Supervisor


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="build the server's environment and backend directory")
    run = commands.add_parser("run", help="start Triton and keep it answering, until SIGTERM or SIGINT")
    run.add_argument("--allow-random", action="store_true", help="serve weights that were never trained")
    flags = commands.add_parser("flags", help="print the flags of a container's server, one a line")
    flags.add_argument("--gpu", action="store_true")
    flags.add_argument("--config-name", default="", help="configs/<this>.pbtxt, where a model has one")
    arguments = parser.parse_args()
    command = arguments.command
    if command == "flags":
        print("\n".join(container_flags(gpu=arguments.gpu, config_name=arguments.config_name)))
        return 0
    try:
        settings = Settings()
        if command == "run" and arguments.allow_random:
            settings = settings.model_copy(update={"allow_random": True})
        if command == "install":
            built = install(settings)
            print(f"Triton server: {'built' if built else 'up to date'} in {settings.tree}")
        else:
            check_installed(settings)
            asyncio.run(_run(settings))
    except (ServingError, ValidationError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _run(settings: Settings) -> None:
    _configure_logs()
    supervisor = Supervisor(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.request_stop)
    await supervisor.run(os.getpid())


def _configure_logs() -> None:
    """One JSON object a line on stderr: what happened to which model, never what a request held."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
