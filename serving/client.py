"""What the supervisor asks of Triton, over gRPC, with a deadline: readiness, model control, canaries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, service_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from serving.canary import CANARY_INPUTS, NUMBER_TYPES, canary_bytes, canary_numbers, check_outputs
from serving.errors import ControlError

__all__ = ["LIVE_TIMEOUT_S", "CanaryError", "CanaryTimeoutError", "Client", "canary_inputs"]

_READY_TIMEOUT_S = 2.0
LIVE_TIMEOUT_S = 2.0


class CanaryError(Exception):
    """The model answered a canary with an error or with nonsense."""


class CanaryTimeoutError(CanaryError):
    """The model did not answer a canary in time."""


class Client:
    """One connection to one server; close it when the server is replaced."""

    def __init__(self, url: str) -> None:
        # On loopback: a proxy that the environment names for pip cannot reach it.
        self._client = InferenceServerClient(url, channel_args=[("grpc.enable_http_proxy", 0)])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def is_ready(self) -> bool:
        try:
            return bool(await self._client.is_server_ready(client_timeout=_READY_TIMEOUT_S))
        except (InferenceServerException, grpc.RpcError):
            return False

    async def is_live(self) -> bool:
        """Whether the server answers at all: this asks nothing of any model."""
        try:
            return bool(await self._client.is_server_live(client_timeout=LIVE_TIMEOUT_S))
        except (InferenceServerException, grpc.RpcError):
            return False

    async def loaded(self, timeout_s: float) -> dict[str, str]:
        """Models of the repository that Triton tried to load -> "" when ready, else its reason."""
        try:
            index = await self._client.get_model_repository_index(client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ControlError(f"the model index was not given: {error}") from error
        found: dict[str, str] = {}
        for model in index.models:
            reason = model.reason or model.state.lower() or "not loaded"
            found[model.name] = "" if model.state == "READY" else found.get(model.name, reason)
        return found

    async def unload(self, model: str, timeout_s: float) -> None:
        """Unload one model, and no other, once it has answered what it was asked. Raises ControlError."""
        try:
            await self._client.unload_model(model, client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ControlError(f"cannot unload {model}: {_summary(error)}") from error

    async def versions(self, timeout_s: float) -> dict[str, set[str]]:
        """Models -> their versions that are ready."""
        try:
            index = await self._client.get_model_repository_index(client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ControlError(f"the model index was not given: {error}") from error
        found: dict[str, set[str]] = {}
        for model in index.models:
            found.setdefault(model.name, set()).update({model.version} if model.state == "READY" else ())
        return found

    async def load(self, model: str, timeout_s: float, config: str | None = None) -> None:
        """Load a model with its steps, or with another `config` (JSON) than its file's.

        Nothing happens to one that is loaded as it should be.

        Raises:
            ControlError: refused, or not done in time.
        """
        try:
            await self._client.load_model(model, config=config, client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ControlError(f"cannot load {model}: {_summary(error)}") from error

    async def reload(self, model: str, timeout_s: float, config: str | None = None) -> None:
        """Unload and load one model; ensembles that use it follow by themselves.

        A load of a loaded model whose files have not changed would do nothing, hence the unload.

        Raises:
            ControlError: refused, or not done in time.
        """
        try:
            await self._client.unload_model(model, client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ControlError(f"cannot unload {model}: {_summary(error)}") from error
        await self.load(model, timeout_s, config)

    async def ask(
        self, model: str, inputs: Mapping[str, npt.NDArray[np.generic]], datatype: str, timeout_s: float
    ) -> dict[str, npt.NDArray[np.generic]]:
        """All outputs of one inference with inputs of one datatype. Raises ControlError."""
        contents = []
        for name, array in inputs.items():
            content = InferInput(name, list(array.shape), datatype)
            content.set_data_from_numpy(array)
            contents.append(content)
        try:
            result = await self._client.infer(model, contents, client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise ControlError(f"{model} does not answer: {_summary(error)}") from error
        names = [output.name for output in result.get_response().outputs]
        return {name: np.asarray(result.as_numpy(name)) for name in names}

    async def completed(self, model: str) -> int | None:
        """How many requests the model has answered, well or badly; None when the server does not say."""
        try:
            answer = await self._client.get_inference_statistics(model, client_timeout=_READY_TIMEOUT_S)
        except (InferenceServerException, grpc.RpcError):
            return None
        return sum(
            int(one.inference_stats.success.count + one.inference_stats.fail.count)
            for one in answer.model_stats
        )

    async def canary(self, model: str, timeout_s: float) -> float:
        """Milliseconds that one canary took.

        Raises:
            CanaryTimeoutError: no answer within `timeout_s`.
            CanaryError: an error, an answer that cannot be right, or no idea what to send.
        """
        started = time.perf_counter()
        try:
            metadata = await self._client.get_model_metadata(model, client_timeout=timeout_s)
            inputs = canary_inputs(metadata)
            left_s = timeout_s - (time.perf_counter() - started)
            result = await self._client.infer(model, inputs, client_timeout=max(left_s, 0.001))
        except (InferenceServerException, grpc.RpcError) as error:
            kind = CanaryTimeoutError if _is_deadline(error) else CanaryError
            raise kind(_summary(error)) from error
        outputs = {out.name: result.as_numpy(out.name) for out in metadata.outputs}
        if problem := check_outputs({name: array for name, array in outputs.items() if array is not None}):
            raise CanaryError(problem)
        return (time.perf_counter() - started) * 1000


def canary_inputs(metadata: service_pb2.ModelMetadataResponse) -> list[InferInput]:
    """What to send: the one input of bytes that is known (others are optional), or all inputs of numbers.

    Raises CanaryError when the model has neither.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    known = [tensor.name for tensor in metadata.inputs if tensor.name in CANARY_INPUTS]
    if len(known) == 1:
        arrays[known[0]] = np.array([[canary_bytes(known[0])]], dtype=object)
    elif not known and all(tensor.datatype in NUMBER_TYPES for tensor in metadata.inputs):
        arrays = {tensor.name: canary_numbers(tensor.datatype, tensor.shape) for tensor in metadata.inputs}
    else:
        raise CanaryError(
            f"inputs {[t.name for t in metadata.inputs]}: one of {list(CANARY_INPUTS)} expected, or numbers"
        )
    datatypes = {tensor.name: tensor.datatype for tensor in metadata.inputs}
    contents = []
    for name, array in arrays.items():
        content = InferInput(name, list(array.shape), datatypes[name])
        content.set_data_from_numpy(array)
        contents.append(content)
    return contents


def _is_deadline(error: Exception) -> bool:
    # tritonclient keeps the gRPC status code only as text: "StatusCode.DEADLINE_EXCEEDED".
    if isinstance(error, InferenceServerException):
        return str(error.status()) == str(grpc.StatusCode.DEADLINE_EXCEEDED)
    return False


def _summary(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
