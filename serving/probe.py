"""Whether a server really answers: one small inference for each model that takes bytes, over HTTP.

    python3 -m serving.probe [URL]       0 when all answered, 1 when not; says which

A server goes on calling itself ready when the Python process of a model has died, and never starts it again,
so a container's health is asked this way. It needs NumPy, PyAV and the canaries, nothing else of ours.
"""

from __future__ import annotations

import json
import struct
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Final

import numpy as np

from serving.canary import CANARY_INPUTS, check_outputs

__all__ = ["PROBED", "probe"]

PROBED: Final[Mapping[str, str]] = {
    **{f"embed_{name}": name for name in CANARY_INPUTS},
    "transcribe_audio": "audio",
}
"""Model to its only required input."""
_URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 10.0
_NUMBERS = 1 << 24


def probe(url: str, model: str, timeout_s: float) -> str:
    """What is wrong with ``model`` of the server at ``url``, or ""."""
    # Another content every second, so that no cache answers.
    content = CANARY_INPUTS[PROBED[model]](int(time.time()) % _NUMBERS)
    body = struct.pack("<I", len(content)) + content
    tensor = {
        "name": PROBED[model],
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(body)},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": False}}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{url}/v2/models/{model}/infer",
        data=header + body,
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            outputs = json.load(answer)["outputs"]
    except (OSError, ValueError, KeyError) as error:
        return f"{model}: {error}"
    arrays = {each["name"]: np.asarray(each["data"]) for each in outputs}
    wrong = check_outputs(arrays)
    return f"{model}: {wrong}" if wrong else ""


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else _URL
    problems = [problem for model in PROBED if (problem := probe(url, model, _TIMEOUT_S))]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
