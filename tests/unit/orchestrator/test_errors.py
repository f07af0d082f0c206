"""The error tree: the drawing in the docstring is the code, and codes are unique."""

import re

import grpc
import pytest

from media import MediaError, TooLargeError
from orchestrator import errors
from orchestrator.errors import PartError, SensoriumError


def tree(cls: type[SensoriumError]) -> list[type[SensoriumError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in tree(child))]


DRAWN = re.findall(r"\+- (\w+) +(\S+)[^A-Z\n]*([A-Z_]+) +(\d+)\n", errors.__doc__ or "")


def test_every_error_is_drawn_and_exported() -> None:
    names = {cls.__name__ for cls in tree(SensoriumError)} - {"SensoriumError"}
    assert {name for name, *_ in DRAWN} == names
    assert set(errors.__all__) == names | {"SensoriumError"}


@pytest.mark.parametrize(("name", "code", "status", "http"), DRAWN)
def test_an_error_is_as_drawn(name: str, code: str, status: str, http: str) -> None:
    cls = getattr(errors, name)
    assert cls.grpc_status is grpc.StatusCode[status]
    assert cls.http_status == int(http)
    if cls is not PartError:
        assert cls.code == code


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in tree(SensoriumError) if cls is not SensoriumError]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("refused", MediaError.__subclasses__())
def test_a_media_error_keeps_everything(refused: type[MediaError]) -> None:
    error = PartError.of(refused("why", kind="png", limit="max_pixels=1"), 3)
    assert (error.code, error.message, error.part) == (refused.code, "why", 3)
    assert (error.kind, error.limit) == ("png", "max_pixels=1")


def test_an_error_can_be_moved_to_its_part() -> None:
    moved = PartError.of(TooLargeError(limit="max_bytes=1")).at(2)
    assert (moved.code, moved.part, moved.limit) == ("media.too_large", 2, "max_bytes=1")
