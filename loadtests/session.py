"""One run against one system: what the options say, put together, and the report at the end."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.arrivals import Arrival, Phase, Traffic
from loadtests.calls import Calls, GrpcCalls, RestCalls
from loadtests.errors import SettingsError
from loadtests.memory import memory_mib, parse_pids
from loadtests.openloop import OpenLoop
from loadtests.payloads import read_payloads
from loadtests.report import findings, write_report
from loadtests.samples import Answer, Sample
from loadtests.scenarios import SCENARIOS, Scenarios, Shape

__all__ = ["Session"]

GRPC_TLS = "https://"
WARM_UP = "warm-up"

logger = logging.getLogger("loadtests")


class Session:
    """`options` are those of `locustfile.py`, `url` where REST is; `done` is told each sample as it ends.

    Raises:
        SettingsError, PayloadsError: before anything was sent.
    """

    def __init__(self, options: Namespace, url: str, done: Callable[[Sample], None]) -> None:
        self._options = options
        self._names = [name for name in options.scenarios.split(",") if name]
        if unknown := [name for name in self._names if name not in SCENARIOS]:
            raise SettingsError(f"no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
        self._pids = parse_pids(options.pids)
        self._payloads = read_payloads(Path(options.payloads))
        self._traffic = Traffic(self._payloads.pools, options.seed, options.zipf, options.rest_share)
        target = options.grpc_target.removeprefix(GRPC_TLS)
        self._grpc = GrpcCalls(target, options.deadline_s, tls=target != options.grpc_target)
        rest = RestCalls(url, options.deadline_s, options.max_outstanding)
        self._calls: dict[str, Calls] = {"grpc": self._grpc, "rest": rest}
        self._loop = OpenLoop(self._ask, options.max_outstanding, 2 * options.deadline_s, done)

    def run(self) -> None:
        """Plays the scenarios and writes the report; what was played is kept, also where the run ends early.

        Raises:
            UnreachableError: nothing answers.
            SettingsError: a scenario lacks the saturation.
        """
        options = self._options
        report = self._head()
        scenarios = Scenarios(self._play, _shape(options), lambda: memory_mib(self._pids))
        try:
            if options.warm_up_s > 0:
                self._play(WARM_UP, [Phase(WARM_UP, options.start_rate, options.warm_up_s)])
            for name in self._names:
                report["scenarios"][name] = scenarios.run(name)
            report["complete"] = True
        finally:
            if report["scenarios"]:
                written = write_report(report, Path(options.out))
                for sentence in findings(report):
                    logger.info(sentence)
                logger.info("written: %s", ", ".join(map(str, written)))

    def _ask(self, arrival: Arrival) -> Answer:
        content = self._payloads.queries[arrival.modality][arrival.query]
        return self._calls[arrival.protocol].search(arrival.modality, content)

    def _play(
        self, label: str, phases: Sequence[Phase], watch: Callable[[float], None] | None = None
    ) -> list[Sample]:
        for phase in phases:
            logger.info("%s: %s, %.1f/s for %.0f s", label, phase.name, phase.rate, phase.duration_s)
        return self._loop.play(self._traffic.plan(label, phases), watch)

    def _head(self) -> dict[str, Any]:
        """All of the report but the scenarios. Asks the system what it is: a dead one is told at once."""
        status, options, traffic = self._grpc.status(), self._options, self._traffic
        return {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": options.machine,
            "complete": False,
            "system": {
                "items": status.items,
                "version": status.version,
                "embedding_version": status.embedding_version,
            },
            "settings": {
                "seed": traffic.seed,
                "zipf": traffic.zipf,
                "mix": dict(traffic.mix),
                "pools": dict(traffic.pools),
                "payloads": dict(self._payloads.made),
                "rest_share": traffic.rest_share,
                "timeout_s": options.deadline_s,
                "max_outstanding": options.max_outstanding,
                "bound_ms": options.bound_ms,
            },
            "scenarios": {},
        }


def _shape(options: Namespace) -> Shape:
    return Shape(
        bound_ms=options.bound_ms,
        start=options.start_rate,
        step_s=options.step_s,
        spike=options.spike_times,
        soak_s=options.soak_s,
        overload_s=options.overload_s,
        saturation=options.saturation,
    )
