"""Queries of the generated catalogue, whose items know their attributes: words that ask for several at once,
and compositions of an example and a wish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalogue.manifest import ManifestItem, read_manifest
from evaluation.client import EvaluationError, Sensorium
from evaluation.figures import Progress, answered
from evaluation.judgements import Condition
from evaluation.metrics import interval, per_query
from queries import make_queries
from queries.types import HasHome, chance
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["COMPOSITIONS", "Composed", "evaluate_attributes"]

QUERIES = 60
"""Of each kind."""
QUICK_QUERIES = 12
TOP = 10
WORDS = {"mug": "cup", "box": "chest", "stool": "seat", "lamp": "light", "bottle": "flask"}
"""What else people call some of the shapes."""


@dataclass(frozen=True)
class Composed:
    """Several parts, asked together, and the two conditions of an answer."""

    name: str
    parts: tuple[str | Path, ...]
    weights: tuple[float, ...]
    conditions: tuple[Condition, Condition]
    targets: tuple[pb.Modality, ...] = ()

    def answers(self, items: Sequence[ManifestItem]) -> list[str]:
        return [item.id for item in items if all(each.holds(item) for each in self.conditions)]


def evaluate_attributes(
    target: str,
    manifest: Path,
    settings: HasHome,
    progress: Progress,
    options: Mapping[str, bool] | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """`attributes`: words for two to four attributes, all of which must hold. `composition[kind]`: an example
    and a wish, with the share of the first ten that satisfy the first condition, the second and both, and the
    share that could (`attainable`: fewer than ten items may satisfy both).

    Raises:
        EvaluationError: the system does not answer, or its items are not those of a generated catalogue.
        CatalogueError, QueriesError: the manifest cannot be read, a query cannot be made.
    """
    items = list(read_manifest(manifest))
    if not all("shape" in item.attributes for item in items):
        raise EvaluationError(f"{manifest} is no generated catalogue: its items know no attributes")
    count = QUICK_QUERIES if quick else QUERIES
    with Sensorium(target, options) as system:
        system.require([item.id for item in items])
        found: dict[str, Any] = {
            "attributes": {
                "items": len(items),
                "options": dict(options or {}),
                **_ask(system, "attributes", list(_worded(items, count)), items, progress),
            },
            "composition": {},
        }
        for kind, make in COMPOSITIONS.items():
            # a wish that nothing in the catalogue fulfils measures nothing
            made = [query for query in make(items, count, settings) if query.answers(items)]
            if made:
                found["composition"][kind] = _ask(system, kind, made, items, progress)
    return found


def _ask(
    system: Sensorium, what: str, asked: Sequence[Composed], items: Sequence[ManifestItem], progress: Progress
) -> dict[str, Any]:
    by_id = {item.id: item for item in items}
    answers = {}
    for number, query in enumerate(asked):
        progress(what, number, len(asked))
        answers[query.name] = system.search(query.name, query.parts, query.targets, query.weights)
    progress(what, len(asked), len(asked))
    relevant = {query.name: query.answers(items) for query in asked}
    values = per_query(relevant, {name: answer.ids for name, answer in answers.items()})
    found = answered(values, answers)
    for query in asked:
        top = [by_id[item] for item in answers[query.name].ids[:TOP]]
        held = [[each.holds(item) for each in query.conditions] for item in top]
        found["per_query"][query.name] |= {
            "p@10 first": sum(first for first, _ in held) / TOP,
            "p@10 second": sum(second for _, second in held) / TOP,
            "p@10 both": sum(all(each) for each in held) / TOP,
            "attainable": min(len(relevant[query.name]), TOP) / TOP,
        }
    for name in ("p@10 first", "p@10 second", "p@10 both", "attainable"):
        shares = [each[name] for each in found["per_query"].values()]
        found |= {name: float(np.mean(shares)), f"{name}_ci95": list(interval(shares))}
    return found


def _worded(items: Sequence[ManifestItem], count: int) -> Iterator[Composed]:
    """ "A red metal cup": the first condition is the thing, the second all that is said of it."""
    for number, item in enumerate(_drawn(items, count, "attributes")):
        random = chance("attributes", item.id, number)
        names = ["colour", "material", "pattern", "size"]
        if item.attributes["pattern"] == "plain":
            names.remove("pattern")
        asked = sorted(random.choice(names, int(random.integers(1, 4)), replace=False))
        said = {name: str(item.attributes[name]) for name in asked}
        shape = str(item.attributes["shape"])
        order = [said[name] for name in ("size", "pattern", "colour", "material") if name in said]
        words = " ".join((*order, WORDS.get(shape, shape)))
        article = "an" if words[0] in "aeiou" else "a"
        yield Composed(
            f"{item.id}/{'+'.join(asked)}",
            (f"{article} {words}",),
            (1.0,),
            (Condition({"shape": shape}, {}), Condition(said, {})),
        )


def _recoloured(items: Sequence[ManifestItem], count: int, settings: HasHome) -> Iterator[Composed]:
    """ "This image, but blue": the same shape, and a colour that something of this shape has."""
    for item, photograph in _photographed(items, count, settings, "recoloured"):
        alike = [other for other in items if other.attributes["shape"] == item.attributes["shape"]]
        others = sorted(
            {str(other.attributes["colour"]) for other in alike} - {str(item.attributes["colour"])}
        )
        if not others:
            continue
        colour = others[int(chance("recoloured", item.id).integers(len(others)))]
        shape = {"shape": str(item.attributes["shape"])}
        yield Composed(
            f"{item.id}/{colour}",
            (photograph, colour),
            (1.0, 1.0),
            (Condition(shape, {}), Condition({"colour": colour}, {})),
        )


def _without(items: Sequence[ManifestItem], count: int, settings: HasHome) -> Iterator[Composed]:
    """ "This without stripes": the same shape, and not the pattern that is pushed away."""
    patterned = [item for item in items if item.attributes["pattern"] != "plain"]
    for item, photograph in _photographed(patterned, count, settings, "without"):
        pattern = str(item.attributes["pattern"])
        yield Composed(
            f"{item.id}/not {pattern}",
            (photograph, pattern),
            (1.0, -1.0),
            (Condition({"shape": str(item.attributes["shape"])}, {}), Condition({}, {"pattern": pattern})),
        )


def _sounding(items: Sequence[ManifestItem], count: int, settings: HasHome) -> Iterator[Composed]:
    """ "Like this sound, as a picture", looked for among pictures: what rings alike is of the same material
    and of the same shape."""
    chosen = _drawn([item for item in items if item.paths("effect")], count, "sounding")
    for query in make_queries("effect", chosen, settings):
        attributes = {name: str(query.item.attributes[name]) for name in ("material", "shape")}
        yield Composed(
            query.name,
            query.parts,
            (1.0,),
            (
                Condition({"material": attributes["material"]}, {}),
                Condition({"shape": attributes["shape"]}, {}),
            ),
            (pb.IMAGE,),
        )


COMPOSITIONS: dict[str, Callable[[Sequence[ManifestItem], int, HasHome], Iterator[Composed]]] = {
    "this image, but another colour": _recoloured,
    "this image, without its pattern": _without,
    "like this sound, as a picture": _sounding,
}


def _photographed(
    items: Sequence[ManifestItem], count: int, settings: HasHome, purpose: str
) -> Iterator[tuple[ManifestItem, Path]]:
    for query in make_queries("photograph", _drawn(items, count, purpose), settings):
        (path,) = query.parts
        if isinstance(path, Path):
            yield query.item, path


def _drawn(items: Sequence[ManifestItem], count: int, purpose: str) -> list[ManifestItem]:
    """The same items on every machine, none twice."""
    places = chance(purpose, len(items)).permutation(len(items))[:count]
    return [items[place] for place in sorted(places)]
