"""Creates what the YAML of ``milvus/`` describes, and verifies what is there already.

Each embedding version has collections of its own, so that one can be filled while another answers, and goes
whole. What is not as the YAML says is neither dropped nor altered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import grpc
from pymilvus import AsyncMilvusClient, DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from orchestrator.clients.milvus_spec import CollectionSpec, FieldSpec, IndexStep, StoreSpec, index_step
from orchestrator.errors import SchemaMismatchError
from orchestrator.types import Space

__all__ = ["PREFIX", "adopt", "alias_name", "collection_name", "drop", "ensure", "point"]

PREFIX: Final = "sensorium_"
_HEX: Final = 8
_creating: Final[WeakKeyDictionary[AsyncMilvusClient, asyncio.Lock]] = WeakKeyDictionary()


def collection_name(space: Space, embedding_version: str) -> str:
    """The name of the collection that holds a vector space in one embedding version."""
    return f"{PREFIX}{space}_{hashlib.sha256(embedding_version.encode()).hexdigest()[:_HEX]}"


def alias_name(space: Space) -> str:
    """The alias of the collection that searches are answered from, for whoever looks in from outside."""
    return f"{PREFIX}{space}_current"


async def ensure(client: AsyncMilvusClient, spec: StoreSpec, version: str) -> dict[Space, IndexStep]:
    """Every collection of an embedding version with its partitions and index, created where missing, verified
    and loaded.

    Each step is safe to repeat, so that a start cut short is completed by the next. Returns the index in use.

    Raises:
        SchemaMismatchError: what is there is not what ``spec`` says. Nothing was changed.
    """
    # Milvus Lite does not bear two that create a collection: each opens its files with a manifest of its own.
    async with _creating.setdefault(client, asyncio.Lock()):
        found = await asyncio.gather(*(_ensure(client, spec, space, version) for space in spec.collections))
    return dict(zip(spec.collections, found, strict=True))


async def drop(client: AsyncMilvusClient, spec: StoreSpec, version: str) -> None:
    """Removes the collections of an embedding version; those that are gone already are passed over."""
    async with _creating.setdefault(client, asyncio.Lock()):
        for space in spec.collections:
            name = collection_name(space, version)
            if await client.has_collection(name):
                await client.drop_collection(name)


async def point(client: AsyncMilvusClient, spec: StoreSpec, version: str) -> None:
    """Lets the aliases stand for the collections of an embedding version."""
    for space in spec.collections:
        name, alias = collection_name(space, version), alias_name(space)
        try:
            await client.alter_alias(name, alias)
        except MilvusException:  # there is none yet
            await client.create_alias(name, alias)


async def adopt(client: AsyncMilvusClient, spec: StoreSpec) -> None:
    """Gives collections of before there were several embedding versions the names that they would have now.

    Which version they are of is what their rows say; those without rows are of no use.
    """
    for space in spec.collections:
        if not await client.has_collection(old := PREFIX + space):
            continue
        await client.load_collection(old)
        rows = await client.query(old, filter='row_id != ""', output_fields=["embedding_version"], limit=1)
        if rows and not await client.has_collection(
            new := collection_name(space, rows[0]["embedding_version"])
        ):
            await client.rename_collection(old, new)
        else:
            await client.drop_collection(old)


async def _ensure(client: AsyncMilvusClient, spec: StoreSpec, space: Space, version: str) -> IndexStep:
    name, collection = collection_name(space, version), spec.collections[space]
    if not await client.has_collection(name):
        # Another process may be doing the same: what counts is what stands there afterwards.
        with contextlib.suppress(MilvusException):
            await client.create_collection(name, schema=_schema(spec, collection))
    described = (await client.describe_collection(name))["fields"]
    differences = _field_differences(_expected_fields(spec, collection), described)
    if differences:
        raise _mismatch(name, spec.profile, differences)
    present = set(await client.list_partitions(name))
    for partition in collection.partitions:
        if partition.value not in present:
            await client.create_partition(name, partition.value)
    step = await _ensure_index(client, spec, collection, name)
    await client.load_collection(name)
    return step


def _schema(spec: StoreSpec, collection: CollectionSpec) -> Any:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    primary = spec.row.primary
    schema.add_field(primary.name, DataType[primary.type], is_primary=True, max_length=primary.max_length)
    for field in spec.row.fields:
        schema.add_field(field.name, DataType[field.type], **_options(field))
    schema.add_field(spec.row.vector.name, DataType[spec.row.vector.type], dim=collection.dim)
    return schema


def _options(field: FieldSpec) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if field.element is not None:
        options["element_type"] = DataType[field.element]
    if field.max_length is not None:
        options["max_length"] = field.max_length
    if field.max_capacity is not None:
        options["max_capacity"] = field.max_capacity
    return options


async def _ensure_index(
    client: AsyncMilvusClient, spec: StoreSpec, collection: CollectionSpec, name: str
) -> IndexStep:
    vector = spec.row.vector.name
    if vector not in await client.list_indexes(name):
        step = index_step(collection, spec.planned_rows)
        params = MilvusClient.prepare_index_params()
        params.add_index(
            field_name=vector,
            index_name=vector,
            index_type=step.type,
            metric_type=collection.metric,
            # pymilvus 3 flattens this; Lite reads, and every Milvus accepts, the nested form only.
            params={"params": dict(step.build)},
        )
        try:
            await client.create_index(name, params)
        except grpc.RpcError as error:
            # Made, but not waited for: pymilvus asks for a timestamp for that, which Lite has not.
            if not isinstance(error, grpc.aio.AioRpcError) or error.code() != grpc.StatusCode.UNIMPLEMENTED:
                raise
    found = await client.describe_index(name, vector)
    for step in collection.index:
        if not _index_differences(step, collection, found):
            return step
    wanted = index_step(collection, spec.planned_rows)
    raise _mismatch(name, spec.profile, _index_differences(wanted, collection, found))


def _mismatch(name: str, profile: str, differences: list[str]) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"collection {name} is not what milvus/{profile}.yaml says: {'; '.join(differences)}. "
        "Nothing was changed. To migrate, either set SENSORIUM_MILVUS__URI (or SENSORIUM_HOME) to an empty "
        "Milvus, or drop the collection yourself; then start again: stored items are indexed again from "
        "their stored media."
    )


# ---- comparing ----


def _expected_fields(spec: StoreSpec, collection: CollectionSpec) -> dict[str, dict[str, Any]]:
    fields = {field.name: {"type": field.type, **_options(field)} for field in spec.row.fields}
    fields[spec.row.primary.name] = {
        "type": spec.row.primary.type,
        "max_length": spec.row.primary.max_length,
        "is_primary": True,
    }
    fields[spec.row.vector.name] = {"type": spec.row.vector.type, "dim": collection.dim}
    return fields


def _field_differences(
    expected: Mapping[str, Mapping[str, Any]], described: list[Mapping[str, Any]]
) -> list[str]:
    found = {field["name"]: field for field in described}
    differences = [f"field {name} is missing" for name in expected.keys() - found.keys()]
    differences += [f"field {name} is not known" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        actual = {**found[name].get("params", {}), **found[name]}
        for key, value in expected[name].items():
            if key == "type":
                there = DataType(actual["type"]).name
            elif key == "element_type":
                value, there = DataType(value).name, DataType(actual.get(key) or 0).name
            else:
                there = _number(actual.get(key))
            if there != value:
                differences.append(f"field {name} has {key} {there} instead of {value}")
    return sorted(differences)


def _index_differences(
    step: IndexStep, collection: CollectionSpec, found: Mapping[str, Any] | None
) -> list[str]:
    if found is None:
        return ["the vector has no index"]
    # Servers differ in whether the parameters stand beside the type or in a JSON object of their own.
    nested = found.get("params", {})
    actual = {**(json.loads(nested) if isinstance(nested, str) else nested), **found}
    expected: dict[str, Any] = {"index_type": step.type, "metric_type": collection.metric, **step.build}
    return [
        f"the index has {key} {_number(actual.get(key))} instead of {value}"
        for key, value in expected.items()
        if _number(actual.get(key)) != value
    ]


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value
