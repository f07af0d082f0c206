"""Canaries for inputs of bytes and of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from serving.canary import canary_numbers
from serving.client import CanaryError, canary_inputs


def metadata(*tensors: tuple[str, str, list[int]]) -> service_pb2.ModelMetadataResponse:
    message = service_pb2.ModelMetadataResponse(name="some")
    for name, datatype, shape in tensors:
        message.inputs.add(name=name, datatype=datatype, shape=shape)
    return message


def test_numbers_fill_every_free_axis_alike() -> None:
    array = canary_numbers("FP32", [-1, -1, 4, 1024])
    assert array.shape == (1, 2, 4, 1024)
    assert array.dtype == np.float32
    assert array.std() > 0.1
    assert canary_numbers("INT64", [-1, -1]).tolist() == [[1, 1]]


def test_no_two_canaries_are_the_same() -> None:
    assert not np.array_equal(canary_numbers("FP32", [-1, 8]), canary_numbers("FP32", [-1, 8]))


def test_a_model_of_numbers_gets_all_its_inputs() -> None:
    sent = canary_inputs(metadata(("rows", "FP32", [-1, -1, 4]), ("kind", "INT64", [-1, -1])))
    assert [(tensor.name(), tensor.datatype(), tensor.shape()) for tensor in sent] == [
        ("rows", "FP32", [1, 2, 4]),
        ("kind", "INT64", [1, 2]),
    ]


def test_a_model_of_bytes_gets_the_one_that_is_known() -> None:
    (tensor,) = canary_inputs(metadata(("audio", "BYTES", [-1, 1]), ("phrases", "BYTES", [-1, 1])))
    assert (tensor.name(), tensor.datatype(), tensor.shape()) == ("audio", "BYTES", [1, 1])


@pytest.mark.parametrize(
    "tensors",
    [
        [("letters", "BYTES", [-1, 1])],
        [("text", "BYTES", [-1, 1]), ("image", "BYTES", [-1, 1])],
        [("numbers", "FP32", [-1, 2]), ("flags", "BOOL", [-1, 2])],
    ],
)
def test_no_idea_what_to_send_is_said(tensors: list[tuple[str, str, list[int]]]) -> None:
    with pytest.raises(CanaryError, match="expected"):
        canary_inputs(metadata(*tensors))
