"""REST says what the protobuf messages say: every field, every call, in the document and on the wire."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from orchestrator.rest.openapi import describe
from sensorium.v1 import sensorium_pb2 as pb

DOCUMENT = describe("0")
SCHEMAS = DOCUMENT["components"]["schemas"]
MESSAGES = sorted(pb.DESCRIPTOR.message_types_by_name)


def filled(message: Message, depth: int = 0) -> Message:
    """``message`` with a value other than the default in every field; one member of each oneof."""
    if depth > 4:
        return message
    for field in message.DESCRIPTOR.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            if value.message_type:
                filled(getattr(message, field.name)["k"], depth + 1)
            else:
                getattr(message, field.name)["k"] = scalar(value)
        elif field.message_type and field.is_repeated:
            filled(getattr(message, field.name).add(), depth + 1)
        elif field.message_type:
            filled(getattr(message, field.name), depth + 1)
        else:
            value = scalar(field)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


def scalar(field: FieldDescriptor) -> Any:
    if field.enum_type:
        return field.enum_type.values[1].number
    return {
        FieldDescriptor.TYPE_STRING: "s",
        FieldDescriptor.TYPE_BYTES: b"\xff\x00",
        FieldDescriptor.TYPE_BOOL: True,
    }.get(field.type, 3)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_of_every_message_is_described(name: str) -> None:
    message: Descriptor = pb.DESCRIPTOR.message_types_by_name[name]
    assert set(SCHEMAS[name]["properties"]) == {field.json_name for field in message.fields}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_the_mapping_writes_fits_the_description_and_reads_back(name: str) -> None:
    message = filled(getattr(pb, name)())
    as_json = MessageToDict(message)
    check(as_json, {"$ref": f"#/components/schemas/{name}"}, name)
    assert ParseDict(as_json, getattr(pb, name)()) == message


def check(value: Any, schema: dict[str, Any], where: str) -> None:
    """``value`` is what ``schema`` describes, of the few words that our schemas use."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        assert value in schema["enum"], where
    kind = schema["type"]
    assert isinstance(
        value,
        {
            "object": dict,
            "array": list,
            "string": str,
            "boolean": bool,
            "integer": int,
            "number": int | float,
        }[kind],
    ), where
    if kind == "array":
        for item in value:
            check(item, schema["items"], f"{where}[]")
    elif "additionalProperties" in schema:
        for item in value.values():
            check(item, schema["additionalProperties"], f"{where}.*")
    elif kind == "object":
        for name, item in value.items():
            check(item, schema["properties"][name], f"{where}.{name}")


def test_every_call_of_the_service_is_an_operation() -> None:
    operations = {
        operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()
    }
    calls = {method.name for method in pb.DESCRIPTOR.services_by_name["Sensorium"].methods}
    assert calls <= operations


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        if isinstance(node, list):
            return [ref for value in node for ref in references(value)]
        return []

    assert {ref.rpartition("/")[2] for ref in references(DOCUMENT)} <= set(SCHEMAS)
