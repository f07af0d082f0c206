"""Queries that are not copies of what is indexed, made from a catalogue: other words, photographs, speech,
clips, sounds and mixes. Training asks those of the train and validation splits, evaluation those of a split
that nothing was learned from."""

from queries.errors import QueriesError, SourceError, ToolError, UnknownKindError
from queries.making import KINDS, make_queries
from queries.types import MadeQuery

__all__ = [
    "KINDS",
    "MadeQuery",
    "QueriesError",
    "SourceError",
    "ToolError",
    "UnknownKindError",
    "make_queries",
]
