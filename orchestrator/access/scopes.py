"""What each call needs. A call that is not in these tables is refused while authentication is on.

``CALLS`` names what can be done, ``GRPC_CALLS`` and ``REST_CALLS`` say which call a method or a route is.
None needs no credential: liveness and readiness for probes, the page's own files, and the description of
REST.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["AUDITED", "CALLS", "GRPC_CALLS", "RESTRICTABLE", "REST_CALLS", "Scope"]


class Scope(StrEnum):
    """What a credential may be good for."""

    SEARCH = "search"
    READ = "read"
    WRITE = "write"
    FEEDBACK = "feedback"
    ADMIN = "admin"
    METRICS = "metrics"


RESTRICTABLE = frozenset({Scope.SEARCH, Scope.READ, Scope.FEEDBACK})
"""What a credential with a filter may do: the others act on the whole catalogue, or on all users."""

CALLS: Mapping[str, Scope | None] = {
    "Search": Scope.SEARCH,
    "Get": Scope.READ,
    "GetMedia": Scope.READ,
    "GetStatus": Scope.READ,
    "Upsert": Scope.WRITE,
    "Delete": Scope.WRITE,
    "Feedback": Scope.FEEDBACK,
    # A token may erase the user whom it names with `feedback` alone (`Caller.may`).
    "EraseUser": Scope.ADMIN,
    "Metrics": Scope.METRICS,
    # A stream that stays open takes a place of the server: not for everybody.
    "WatchHealth": Scope.READ,
    "Reflection": Scope.SEARCH,
    "Probe": None,
    "Page": None,
}

AUDITED = frozenset(call for call, scope in CALLS.items() if scope in (Scope.WRITE, Scope.ADMIN))

_SERVICE = pb.DESCRIPTOR.services_by_name["Sensorium"]

GRPC_CALLS: Mapping[str, str] = {
    **{
        f"/{_SERVICE.full_name}/{name}": name
        for name in ("Search", "Upsert", "Delete", "Get", "Feedback", "EraseUser", "GetStatus")
    },
    f"/{health.SERVICE_NAME}/Check": "Probe",
    f"/{health.SERVICE_NAME}/Watch": "WatchHealth",
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": "Reflection",
}

REST_CALLS: Mapping[tuple[str, str], str] = {
    ("POST", "/v1/search"): "Search",
    ("PUT", "/v1/items/{item_id}"): "Upsert",
    ("GET", "/v1/items/{item_id}"): "Get",
    ("DELETE", "/v1/items/{item_id}"): "Delete",
    ("GET", "/v1/items/{item_id}/media/{index}"): "GetMedia",
    ("GET", "/v1/items/{item_id}/thumbnail"): "GetMedia",
    ("POST", "/v1/feedback"): "Feedback",
    ("DELETE", "/v1/users/{user}"): "EraseUser",
    ("GET", "/v1/status"): "GetStatus",
    ("GET", "/metrics"): "Metrics",
    ("GET", "/healthz"): "Probe",
    ("GET", "/readyz"): "Probe",
    ("GET", "/openapi.json"): "Page",
    ("GET", "/"): "Page",
}
