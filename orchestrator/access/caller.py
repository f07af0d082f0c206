"""Who calls, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from orchestrator.access.scopes import CALLS, RESTRICTABLE, Scope
from orchestrator.errors import FilterError, ForbiddenError
from orchestrator.filter_items import holds
from orchestrator.filters import compile_filter, joined
from orchestrator.query import SearchQuery
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["EVERYONE", "Caller", "read_filter"]


@dataclass(frozen=True, slots=True)
class Caller:
    """What a credential stands for.

    ``condition``, compiled to ``expression``, must hold for every item that is found or read. ``user`` is the
    only one that requests may name, None for any; ``prefix`` keeps the users of this caller apart from those
    of others. ``per_minute`` bounds its requests, 0 does not.
    """

    id: str
    scopes: frozenset[Scope]
    condition: pb.Filter | None = None
    expression: str = ""
    prefix: str = ""
    user: str | None = None
    per_minute: int = 0

    def may(self, call: str) -> bool:
        """Whether its scopes suffice for ``call``."""
        if call == "EraseUser" and self.user is not None and Scope.FEEDBACK in self.scopes:
            return True  # its own user alone: `named` sees to that
        return CALLS[call] in self.scopes

    def named(self, user: str) -> str:
        """``user`` of a request as it is stored; "" stays nobody.

        Raises:
            ForbiddenError: this caller may not speak for that user.
        """
        if self.user is not None and user not in ("", self.user):
            raise ForbiddenError("a token speaks for its own subject: user must be that or empty")
        return f"{self.prefix}{user}" if user else ""

    def sees(self, item: pb.Item) -> bool:
        """Whether it may read ``item``."""
        return self.condition is None or holds(self.condition, item)

    def restrict(self, response: pb.SearchResponse) -> None:
        """Takes out what a caller with a filter may not be told.

        That is an item which changed between its search and its answer, and whether somebody else has asked
        for the content of a part before.
        """
        if self.condition is None:
            return
        hidden = [place for place, hit in enumerate(response.hits) if not self.sees(hit.item)]
        for place in reversed(hidden):
            del response.hits[place]
        response.candidates -= len(hidden)
        if not response.cached:
            for part in response.parts:
                part.cached = False

    def asking(self, query: SearchQuery) -> SearchQuery:
        """``query`` as it is answered to this caller.

        Raises:
            ForbiddenError: it names a user for whom this caller may not speak.
        """
        return replace(
            query,
            expression=joined(self.expression, query.expression),
            permission=self.expression,
            caller=self.id,
            user=self.named(query.user),
        )


EVERYONE = Caller("", frozenset(Scope))
"""Who calls while authentication is off."""


def read_filter(fields: dict[str, Any], scopes: frozenset[Scope]) -> tuple[pb.Filter, str]:
    """The filter of a credential, as the API's own JSON has it, and its expression.

    Raises:
        FilterError: it is none, or ``scopes`` hold one that no filter can restrict.
    """
    if not scopes <= RESTRICTABLE:
        allowed = ", ".join(sorted(RESTRICTABLE))
        raise FilterError(f"a credential with a filter may have the scopes {allowed} only")
    try:
        condition = ParseDict(fields, pb.Filter())
    except (ParseError, RecursionError, UnicodeError, ValueError, TypeError) as error:
        raise FilterError("the filter of a credential is none") from error
    return condition, compile_filter(condition)
