"""What can go wrong when queries are made.

QueriesError
├── UnknownKindError    no such kind, or one that `make_queries` does not make (recordings)
├── ToolError           espeak-ng is missing, failed or took too long
└── SourceError         the item's own file cannot be read, so nothing can be made of it
"""

from __future__ import annotations

__all__ = ["QueriesError", "SourceError", "ToolError", "UnknownKindError"]


class QueriesError(Exception):
    """Base of every error of this room; the text is meant for a terminal."""


class UnknownKindError(QueriesError):
    """A kind of query that is not made here."""


class ToolError(QueriesError):
    """A program that queries are made with cannot be used."""


class SourceError(QueriesError):
    """A file of the catalogue that a query should be made of cannot be read."""
