#!/bin/sh
# tritonserver with the flags given, its control APIs open only to who sends the key of the secret file:
# over HTTP in the header `sensorium-control`, over gRPC in `triton-grpc-protocol-sensorium-control`.
set -eu
key="$(cat "${TRITON_CONTROL_KEY_FILE:-/run/secrets/triton_control_key}")"
if [ "${#key}" -lt 16 ]; then
    echo "start.sh: the control key must have at least 16 characters" >&2
    exit 1
fi
apis="model-repository,shared-memory,trace,logging"
# Spans of the requests that the orchestrator has sampled, to an OpenTelemetry collector, OTLP over HTTP.
if [ -n "${TRITON_TRACE_URL:-}" ]; then
    set -- "$@" --trace-config=mode=opentelemetry --trace-config=rate=0 --trace-config=level=TIMESTAMPS \
        "--trace-config=opentelemetry,url=${TRITON_TRACE_URL}" \
        --trace-config=opentelemetry,resource=service.name=sensorium-triton
fi
exec tritonserver "$@" \
    "--http-restricted-api=${apis}:sensorium-control=${key}" \
    "--grpc-restricted-protocol=${apis}:sensorium-control=${key}"
