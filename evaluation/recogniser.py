"""Triton's `transcribe_audio`, asked directly (KServe v2 over gRPC): what is heard without a vocabulary.

No request of the search API can ask for that. The only module of this room that knows tritonclient.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from evaluation.client import DEADLINE_S, SearchFailedError

__all__ = ["Recogniser"]

MODEL = "transcribe_audio"


class Recogniser:
    """One connection to a running Triton; use it in a `with`."""

    def __init__(self, target: str) -> None:
        self._client = triton.InferenceServerClient(target)

    def __enter__(self) -> Recogniser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def transcribe(self, name: str, sound: bytes) -> str:
        """What is heard in an encoded sound, without expected phrases.

        Raises:
            SearchFailedError: naming the sound by `name`.
        """
        audio = triton.InferInput("audio", [1, 1], "BYTES")
        audio.set_data_from_numpy(np.array([[sound]], dtype=object))
        try:
            answer = self._client.infer(MODEL, [audio], client_timeout=DEADLINE_S)
        except InferenceServerException as error:
            raise SearchFailedError(f"{name}: {error.status()}") from error
        heard: bytes = answer.as_numpy("text")[0, 0]
        return heard.decode(errors="replace")
