"""How each peer is started with our text encoder, and how it is asked for one embedding.

Every peer reads the same ONNX file and tokenizer.json, and gives all 1,024 numbers of the vector. They are
asked over HTTP/1.1 with JSON, which is what their documentation shows.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer_servers import SCRIPTS, PeerError, Server, running

__all__ = ["PEERS", "HttpPeer", "Model", "start"]

ASK_TIMEOUT_S = 20.0
PEERS: Mapping[str, tuple[str, ...]] = {
    "fastapi": ("fastapi", "uvicorn", "onnxruntime", "tokenizers"),
    "litserve": ("litserve", "onnxruntime", "tokenizers"),
    "mlserver": ("mlserver", "onnxruntime", "tokenizers"),
    "infinity": ("infinity-emb", "optimum", "optimum-onnx", "onnxruntime", "tokenizers"),
}
"""By name, the packages whose versions the report names."""


@dataclass(frozen=True, slots=True)
class Model:
    """One precision of the text encoder."""

    precision: str
    graph: Path
    tokenizer: Path


@dataclass(frozen=True, slots=True)
class HttpPeer:
    """Where and how a peer is asked. `in_loop`: by FastAPI without a thread, faster for one caller."""

    name: str
    port: int
    in_loop: bool = False

    @property
    def label(self) -> str:
        return f"{self.name} in loop" if self.in_loop else self.name

    @property
    def path(self) -> str:
        return {
            "fastapi": "/embed-in-loop" if self.in_loop else "/embed",
            "litserve": "/predict",
            "mlserver": "/v2/models/embed_text/infer",
            "infinity": "/embeddings",
        }[self.name]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def body(self, text: str) -> bytes:
        if self.name == "mlserver":
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}
            return json.dumps({"inputs": [tensor]}).encode()
        if self.name == "infinity":
            return json.dumps({"model": "embed_text", "input": [text]}).encode()
        return json.dumps({"text": text}).encode()

    def vector(self, answer: bytes) -> NDArray[np.float32]:
        """float32 [1024] of an answer. Raises ValueError where it has none."""
        found: Any = json.loads(answer)
        try:
            if self.name == "mlserver":
                found = found["outputs"][0]["data"]
            elif self.name == "infinity":
                found = found["data"][0]["embedding"]
            else:
                found = found["embedding"]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{self.name} answered without an embedding") from error
        return np.asarray(found, np.float32).reshape(-1)

    def ask(self, text: str) -> NDArray[np.float32]:
        """Raises OSError or ValueError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_TIMEOUT_S)
        try:
            connection.request("POST", self.path, self.body(text), {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except http.client.HTTPException as error:
            raise ValueError(f"{self.name} did not answer in HTTP") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"{self.name} answered {answer.status}")
        return self.vector(content)


def start(
    peer: HttpPeer, python: Path, model: Model, spare_port: int, folder: Path
) -> AbstractContextManager[Server]:
    """The peer's server with this model. `folder` is for its log and files. Raises PeerError."""
    log = folder / f"{peer.name}-{model.precision}.log"
    environ = {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": ""}
    files = [str(model.graph.absolute()), str(model.tokenizer.absolute())]
    cwd = SCRIPTS / peer.name
    if peer.name == "mlserver":
        command = [str(python.parent / "mlserver"), "start", "."]
        environ |= {
            "PEER_MODEL": files[0],
            "PEER_TOKENIZER": files[1],
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": str(peer.port),
            "MLSERVER_GRPC_PORT": str(spare_port),
        }
    elif peer.name == "infinity":
        cwd = folder / f"infinity-{model.precision}"
        _prepare(python, files, cwd)
        environ |= {"INFINITY_ANONYMOUS_USAGE_STATS": "0", "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cwd)}
        command = [str(python.parent / "infinity_emb"), "v2", "--model-id", ".", "--engine", "optimum"]
        command += ["--served-model-name", "embed_text", "--device", "cpu", "--pooling-method", "cls"]
        # its own warm-up sends batches of 512 tokens, which takes most of its start
        command += ["--no-model-warmup"]
        command += ["--batch-size", "32", "--host", "127.0.0.1", "--port", str(peer.port)]
    else:
        command = [str(python), str(cwd / "server.py"), *files, str(peer.port)]
    return running(peer.name, command, log, lambda: peer.ask("ready"), cwd=cwd, environ=environ)


def _prepare(python: Path, files: list[str], folder: Path) -> None:
    command = [str(python), str(SCRIPTS / "infinity" / "prepare.py"), *files, str(folder)]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise PeerError("infinity: its model folder could not be laid")
