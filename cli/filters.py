"""`--filter` words of the command line -> the API's structured Filter.

    category=birds,fish      one of            tags=red,blue   any of      tags=red+round   all of
    price=5..20              both inclusive    price>=5  price<=20         price=..20
    available                in stock          available=no
    !category=birds          not

Several `--filter` options must all hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["FilterSyntaxError", "parse_filters"]

WORD = re.compile(r"^(?P<field>[a-z]+)\s*(?:(?P<op><=|>=|=)\s*(?P<value>.+))?$", re.DOTALL)


class FilterSyntaxError(ValueError):
    """A `--filter` word that cannot be read; the message says which and what is expected."""


def parse_filters(words: Sequence[str]) -> pb.Filter | None:
    """All words ANDed, or None for none. Raises FilterSyntaxError."""
    filters = [parse_word(word) for word in words]
    if not filters:
        return None
    if len(filters) == 1:
        return filters[0]
    both = pb.Filter()
    # A keyword of Python: it cannot be written as an attribute or an argument.
    getattr(both, "and").filters.extend(filters)
    return both


def parse_word(word: str) -> pb.Filter:
    text = word.strip()
    if text.startswith("!"):
        opposite = pb.Filter()
        getattr(opposite, "not").CopyFrom(parse_word(text[1:]))
        return opposite
    found = WORD.match(text)
    if not found:
        raise FilterSyntaxError(f"cannot read the filter {word!r}: expected field=value, such as price=5..20")
    field, op, value = found["field"], found["op"], (found["value"] or "").strip()
    if field == "available" and op in (None, "="):
        if value.lower() in ("", "yes", "true"):
            return pb.Filter(available=True)
        if value.lower() in ("no", "false"):
            return pb.Filter(available=False)
        raise FilterSyntaxError(f"available takes yes or no, not {value!r}")
    if field == "price" and op:
        return pb.Filter(price=parse_range(op, value))
    if field == "category" and op == "=":
        return pb.Filter(category=strings(value, ",", word))
    if field == "tags" and op == "=":
        if "+" in value:
            return pb.Filter(tags_all=strings(value, "+", word))
        return pb.Filter(tags_any=strings(value, ",", word))
    raise FilterSyntaxError(f"unknown filter {word!r}: fields are price, category, tags and available")


def parse_range(op: str, value: str) -> pb.Range:
    if op == "<=":
        return pb.Range(max=number(value))
    if op == ">=":
        return pb.Range(min=number(value))
    low, dots, high = value.partition("..")
    if not dots:
        return pb.Range(min=number(value), max=number(value))
    if not (low or high):
        raise FilterSyntaxError("price=.. needs a number on one side at least")
    return pb.Range(min=number(low) if low else None, max=number(high) if high else None)


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise FilterSyntaxError(f"{text!r} is not a number") from error
    if not math.isfinite(value):
        raise FilterSyntaxError(f"{text!r} is not a finite number")
    return value


def strings(value: str, separator: str, word: str) -> pb.StringList:
    values = [part.strip() for part in value.split(separator)]
    if not all(values):
        raise FilterSyntaxError(f"an empty value in the filter {word!r}")
    return pb.StringList(values=values)
