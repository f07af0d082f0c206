"""The flags of tritonserver, in one place: of the embedded server, and of NVIDIA's containers.

Both get only flags that Triton 2.51 knows: it ends at one that it does not know, and newer servers know all
of these. What a newer server alone understands would have to be told from its version here.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "CONTAINER_GRPC_PORT",
    "CONTAINER_HTTP_PORT",
    "CONTAINER_METRICS_PORT",
    "CONTAINER_MODELS",
    "RESTRICTED",
    "common_flags",
    "container_flags",
    "load_flags",
    "trace_flags",
]

CONTAINER_HTTP_PORT = 8000
CONTAINER_GRPC_PORT = 8001
CONTAINER_METRICS_PORT = 8002
CONTAINER_MODELS = (
    "embed_text",
    "embed_image",
    "embed_audio",
    "embed_video",
    "transcribe_audio",
    "rerank",
    "attend",
)
"""What clients call; Triton loads the steps of an ensemble with it."""
RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
"""APIs of a container that take the control key; deploy/triton/start.sh adds it."""

_CONTAINER_REPOSITORY = "/models"
_CONTAINER_STOP_S = 30
_CONNECTION_AGE_MS = 300_000
_CONNECTION_GRACE_MS = 30_000


def common_flags(*, load_threads: int, exit_timeout_s: int) -> list[str]:
    """What every server is told: models are loaded by name, and one that fails stops no other."""
    return [
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--model-load-thread-count={load_threads}",
        f"--exit-timeout-secs={exit_timeout_s}",
        "--log-verbose=0",
    ]


def load_flags(models: Iterable[str]) -> list[str]:
    """Which models to load at start."""
    return [f"--load-model={name}" for name in models]


def container_flags(*, gpu: bool, config_name: str = "") -> list[str]:
    """Of a container, which has its own backends and a network of its own.

    Models are served by their configs/<config_name>.pbtxt where they have one. A client's connection ends
    after five minutes, so that it looks the address up again and finds servers that came since.
    """
    return [
        f"--model-repository={_CONTAINER_REPOSITORY}",
        *common_flags(load_threads=2, exit_timeout_s=_CONTAINER_STOP_S),
        f"--http-port={CONTAINER_HTTP_PORT}",
        f"--grpc-port={CONTAINER_GRPC_PORT}",
        f"--grpc-max-connection-age={_CONNECTION_AGE_MS}",
        f"--grpc-max-connection-age-grace={_CONNECTION_GRACE_MS}",
        f"--metrics-port={CONTAINER_METRICS_PORT}",
        f"--allow-gpu-metrics={str(gpu).lower()}",
        *([f"--model-config-name={config_name}"] if config_name else []),
        *load_flags(CONTAINER_MODELS),
    ]


def trace_flags(url: str) -> list[str]:
    """Spans of the requests whose caller had them sampled (W3C ``traceparent``), to an OTLP/HTTP ``url``.

    Rate 0 leaves it to the caller. Times only: tensors, which are content, are no part of this mode.
    """
    settings = (
        "mode=opentelemetry",
        "rate=0",
        "level=TIMESTAMPS",
        f"opentelemetry,url={url}",
        "opentelemetry,resource=service.name=sensorium-triton",
    )
    return [f"--trace-config={setting}" for setting in settings]
