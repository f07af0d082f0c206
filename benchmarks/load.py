"""gRPC and HTTP load by h2load (Debian's nghttp2-client): a client in C, because a Python one takes a good
part of two cores and would measure itself.

Error tree:

    LoadError              h2load is missing or failed, or answers were not what a success looks like
    └── NoAnswerError      nothing was answered in time
"""

from __future__ import annotations

import re
import shutil
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

__all__ = [
    "LoadError",
    "NoAnswerError",
    "Open",
    "Sample",
    "run_http_load",
    "run_load",
    "run_open_http_load",
    "run_open_load",
]


class LoadError(Exception):
    """The load could not be run, or not every answer was a success."""


class NoAnswerError(LoadError):
    """Nothing was answered in time: a machine that is much too busy, or nobody is there."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One bounded burst of one request at one concurrency. Latencies in milliseconds."""

    concurrency: int
    requests: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Open:
    """What became of requests that were sent at a rate, whatever became of others."""

    sent_per_s: float
    answered_per_s: float
    """With HTTP status 200 and within the bound: of gRPC, errors too."""
    p50_ms: float
    p99_ms: float


_GRPC = ("--header=content-type: application/grpc", "--header=te: trailers")
OPEN_CLIENTS, OPEN_STREAMS = 8, 128
OPEN_CONNECTIONS = 200


def run_open_load(
    target: str, method: str, message: Message, per_second: float, seconds: int, bound_s: float
) -> Open:
    """Sends `message` to gRPC `method` at a rate, with at most OPEN_CLIENTS x OPEN_STREAMS under way.

    Raises LoadError.
    """
    options = [
        f"--clients={OPEN_CLIENTS}",
        f"--max-concurrent-streams={OPEN_STREAMS}",
        f"--rps={per_second / OPEN_CLIENTS:.3f}",
        *_GRPC,
    ]
    return _open(f"http://{target}{method}", _framed(message), options, seconds, bound_s)


def run_open_http_load(url: str, body: bytes, per_second: float, seconds: int, bound_s: float) -> Open:
    """The same for a JSON body posted over HTTP/1.1 on OPEN_CONNECTIONS connections. Raises LoadError."""
    options = ["--h1", f"--clients={OPEN_CONNECTIONS}", f"--rps={per_second / OPEN_CONNECTIONS:.3f}"]
    return _open(url, body, [*options, "--header=content-type: application/json"], seconds, bound_s)


def _framed(message: Message) -> bytes:
    """As gRPC sends a message that is not compressed."""
    payload = message.SerializeToString()
    return b"\0" + struct.pack(">I", len(payload)) + payload


def _open(url: str, body: bytes, options: Sequence[str], seconds: int, bound_s: float) -> Open:
    _, rows = _run(url, body, options, seconds, warm_up_s=0)
    return summarise_open(rows, seconds, bound_s)


def summarise_open(rows: Sequence[Sequence[str]], seconds: int, bound_s: float) -> Open:
    """Of rows as h2load logs them. Raises NoAnswerError."""
    micros = sorted(int(row[2]) for row in rows if row[1] == "200")
    if len(micros) < 2:
        raise NoAnswerError("nothing was answered in time")
    cuts = statistics.quantiles(micros, n=100, method="inclusive")
    in_time = sum(each <= bound_s * 1e6 for each in micros)
    return Open(len(rows) / seconds, in_time / seconds, cuts[49] / 1000, cuts[98] / 1000)


def run_load(target: str, method: str, message: Message, concurrency: int, seconds: int) -> Sample:
    """Sends `message` to gRPC `method` ("/package.Service/Method") of `target` for `seconds`, `concurrency`
    requests in flight, after a warm-up of a fifth of it.

    Raises LoadError when h2load is missing, a request failed, or no answer carried a message: a gRPC error
    has HTTP status 200 too, but no body.
    """
    clients = min(concurrency, 4)
    options = [
        f"--clients={clients}",
        f"--max-concurrent-streams={concurrency // clients}",
        *_GRPC,
    ]
    return _h2load(f"http://{target}{method}", _framed(message), options, concurrency, seconds)


def run_http_load(url: str, body: bytes, concurrency: int, seconds: int) -> Sample:
    """The same for a JSON body posted over HTTP/1.1 on `concurrency` connections. Raises LoadError."""
    options = ["--h1", f"--clients={concurrency}", "--header=content-type: application/json"]
    return _h2load(url, body, options, concurrency, seconds)


def _h2load(url: str, body: bytes, options: Sequence[str], concurrency: int, seconds: int) -> Sample:
    output, rows = _run(url, body, options, seconds, warm_up_s=max(1, round(seconds / 5)))
    # 0: its status came in the warm-up, of which nothing is kept, and its end after it.
    rows = [row for row in rows if row[1] != "0"]
    check_answers(output, rows)
    return summarise(concurrency, rate(output), [int(row[2]) for row in rows])


def _run(
    url: str, body: bytes, options: Sequence[str], seconds: int, warm_up_s: int
) -> tuple[str, list[list[str]]]:
    """What h2load says, and of each request: when it began, its status, and how many microseconds it took."""
    if shutil.which("h2load") is None:
        raise LoadError("h2load is missing: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder) / "body", Path(folder) / "log"
        data.write_bytes(body)
        done = subprocess.run(
            [
                "h2load",
                f"--duration={seconds}",
                f"--warm-up-time={warm_up_s}",
                *options,
                f"--data={data}",
                f"--log-file={log}",
                url,
            ],
            capture_output=True,
            text=True,
            timeout=seconds * 3 + 60,
            check=False,
        )
        if done.returncode:
            raise LoadError(f"h2load failed: {done.stderr.strip()[-300:]}")
        return done.stdout, [line.split("\t") for line in log.read_text().splitlines()]


def check_answers(output: str, rows: Sequence[Sequence[str]]) -> None:
    """Raises LoadError unless all answers were 200 and carried data."""
    if not rows:
        raise NoAnswerError("nothing was answered in time")
    bad = [row for row in rows if row[1] != "200"]
    if bad:
        raise LoadError(f"{len(bad)} of {len(rows)} answers were no success")
    traffic = next(line for line in output.splitlines() if line.startswith("traffic:"))
    data_bytes = int(traffic.rsplit("(", 2)[-1].split(")")[0])
    if data_bytes < 5 * len(rows):
        raise LoadError(f"answers without a body ({traffic.strip()}): the server refused the request")


def rate(output: str) -> float:
    """Requests per second of the measured stretch, without the warm-up."""
    found = re.search(r"^finished in .*?, ([0-9.]+) req/s", output, flags=re.MULTILINE)
    if found is None:
        raise LoadError("h2load did not say how many requests per second it made")
    return float(found[1])


def summarise(concurrency: int, per_second: float, micros: Sequence[int]) -> Sample:
    cuts = statistics.quantiles(micros, n=100, method="inclusive") if len(micros) > 1 else [micros[0]] * 99
    return Sample(
        concurrency=concurrency,
        requests=len(micros),
        per_second=per_second,
        p50_ms=cuts[49] / 1000,
        p95_ms=cuts[94] / 1000,
        p99_ms=cuts[98] / 1000,
    )
