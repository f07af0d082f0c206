"""Load on a running system, by Locust:

locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8080 --grpc-target 127.0.0.1:8081 \\
    --payloads FOLDER --out reports

Locust's users wait for their answer before they ask again, so a slow server slows them down. The one user
here is a dispatcher in place of that: it sends what is due when it is due (`openloop.py`) and tells Locust's
statistics of each request, so that Locust's own reports (`--html`, `--csv`) work as well. Rejected requests
stand there under a name of their own and are no failures.
"""

from __future__ import annotations

import logging
import time
from argparse import ArgumentParser

import gevent
from grpc.experimental import gevent as grpc_gevent
from locust import User, events, task
from locust.env import Environment
from locust.runners import LocalRunner

from loadtests.errors import LoadTestError, SettingsError
from loadtests.samples import Outcome, Sample
from loadtests.scenarios import SCENARIOS, Shape
from loadtests.session import Session

grpc_gevent.init_gevent()  # Locust's import has patched the standard library, which must come before

logger = logging.getLogger("loadtests")
QUIT_S = 60.0


class NotAnsweredError(Exception):
    """Neither an answer nor a rejection; the text is the status. For Locust's table of failures."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: ArgumentParser, **_: object) -> None:
    shape = Shape()
    group = parser.add_argument_group("Sensorium")
    add = group.add_argument
    add("--grpc-target", default="127.0.0.1:8081", help="host:port of gRPC; https:// before it for TLS")
    add("--payloads", default="payloads", help="folder that loadtests.prepare made")
    add("--out", default="reports", help="folder of the report")
    add("--scenarios", default=",".join(SCENARIOS), help="in this order")
    add("--seed", type=int, default=0)
    add("--zipf", type=float, default=1.0, help="exponent of the queries' popularity")
    add("--rest-share", type=float, default=0.5, help="share of requests that go over REST")
    add("--deadline-s", type=float, default=10.0, help="of each request")
    add("--max-outstanding", type=int, default=512, help="requests under way in the client")
    add("--bound-ms", type=float, default=shape.bound_ms, help="latency of a good answer")
    add("--saturation", type=float, default=None, help="requests a second, where steps are not played")
    add("--start-rate", type=float, default=shape.start, help="of the first step")
    add("--step-s", type=float, default=shape.step_s)
    add("--spike-times", type=float, default=shape.spike, help="of the steady rate")
    add("--soak-s", type=float, default=shape.soak_s)
    add("--overload-s", type=float, default=shape.overload_s)
    add("--warm-up-s", type=float, default=10.0, help="at the first step's rate, not reported")
    add("--pids", default="", help="name=pid,...: the server's processes on this machine, for their memory")
    add("--machine", default="", help="for the report")


class Dispatcher(User):
    """Plays all scenarios once, writes the report and ends the run."""

    fixed_count = 1

    @task
    def play(self) -> None:
        environment: Environment = self.environment
        environment.process_exit_code = 1
        try:
            if not isinstance(environment.runner, LocalRunner):
                raise SettingsError("one process makes the load: arrivals are not shared out among workers")
            if environment.parsed_options is None:
                raise SettingsError("run by the command locust, which reads the options")
            url = environment.host or "http://127.0.0.1:8080"
            Session(environment.parsed_options, url, self.tell).run()
            environment.process_exit_code = 0
        except (LoadTestError, OSError) as error:
            logger.error("%s: %s", type(error).__name__, error)
        finally:
            if environment.runner is not None:
                gevent.spawn(environment.runner.quit)  # elsewhere: it waits for this greenlet to end
                gevent.sleep(QUIT_S)

    def tell(self, sample: Sample) -> None:
        """Locust's statistics of one request; its response time is the latency from when it was due."""
        answer, arrival = sample.answer, sample.arrival
        failed = answer.outcome in (Outcome.FAILED, Outcome.UNSENT)
        self.environment.events.request.fire(
            request_type=arrival.protocol,
            name=f"{arrival.modality} (rejected)" if answer.outcome is Outcome.REJECTED else arrival.modality,
            response_time=sample.latency_ms,
            response_length=0,
            exception=NotAnsweredError(answer.code) if failed else None,
            context={},
            start_time=time.time() - sample.latency_ms / 1000,
        )
