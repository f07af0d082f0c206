"""A ``Filter`` of the API on one item, with the meaning that its Milvus expression has on the item's rows."""

from __future__ import annotations

from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["holds"]


def holds(condition: pb.Filter, item: pb.Item) -> bool:
    """Whether ``item`` satisfies ``condition``; one that names no condition is satisfied by nothing.

    An unknown price satisfies no comparison, as NaN does not.
    """
    match condition.WhichOneof("kind"):
        case "and":
            return all(holds(one, item) for one in getattr(condition, "and").filters)
        case "or":
            return any(holds(one, item) for one in getattr(condition, "or").filters)
        case "not":
            return not holds(getattr(condition, "not"), item)
        case "price":
            bounds = condition.price
            return item.HasField("price") and (
                (not bounds.HasField("min") or item.price >= bounds.min)
                and (not bounds.HasField("max") or item.price <= bounds.max)
            )
        case "category":
            return item.category in condition.category.values
        case "tags_any":
            return not set(condition.tags_any.values).isdisjoint(item.tags)
        case "tags_all":
            return set(condition.tags_all.values) <= set(item.tags)
        case "available":
            return item.available == condition.available
        case _:
            return False
