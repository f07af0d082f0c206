"""The parts of transcribe_audio that need no weights: tokens, vocabulary, search."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from media import TextError, TextTooLongError

FOLDER = Path(__file__).resolve().parents[3] / "model_repository" / "transcribe_audio" / "1"
WORDS = [
    "▁",
    "▁A",
    "▁f",
    "ox",
    "og",
    "▁fox",
    "r",
    ".",
    "x",
    "o",
    "f",
    "A",
    "F",
    "▁F",
    "▁Fox",
    "▁bear",
    "B",
    "▁B",
    "ear",
    "<<ST_0>>",
]
NAMES = ("tokens", "vocabulary", "moonshine", "search")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """As in Triton, the folder of the version stands in sys.path."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


def token_file(path: Path) -> Path:
    pieces = [
        b"<unk>",
        b"<s>",
        b"</s>",
        *(bytes([byte]) for byte in range(256)),
        *(w.encode() for w in WORDS),
    ]
    long = b"z" * 300
    data = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    path.write_bytes(data + bytes([0x80 | (len(long) & 0x7F), len(long) >> 7]) + long)
    return path


@pytest.fixture
def tokens(modules: dict[str, ModuleType], tmp_path: Path) -> object:
    return modules["tokens"].Tokens(token_file(tmp_path / "tokenizer.bin"))


def test_text_survives_encoding(tokens: object) -> None:
    for text in ("A fox.", "Fox.", "A bear", "é", "日本"):
        assert tokens.decode(tokens.encode(text)) == text  # type: ignore[attr-defined]


def test_earlier_tokens_merge_first_and_bytes_are_the_last_resort(tokens: object) -> None:
    ids = tokens.encode("A fox.")  # type: ignore[attr-defined]
    assert ids == [259 + WORDS.index(word) for word in ("▁A", "▁fox", ".")]
    assert tokens.encode("é")[1:] == [3 + byte for byte in "é".encode()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("data", [b"", b"\x05abc", b"\x81", b"\x01a"])
def test_a_damaged_token_list_is_refused(modules: dict[str, ModuleType], tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="token"):
        modules["tokens"].Tokens(path)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'"a"', b"\xff", b"[" * 100_000])
def test_phrases_that_are_no_list_of_strings(
    modules: dict[str, ModuleType], tokens: object, data: bytes
) -> None:
    with pytest.raises(TextError):
        modules["vocabulary"].Vocabularies(tokens).get(data)


def test_phrases_are_bounded(modules: dict[str, ModuleType], tokens: object) -> None:
    vocabularies = modules["vocabulary"].Vocabularies(tokens)
    with pytest.raises(TextTooLongError, match="too many"):
        vocabularies.get(json.dumps(["a"] * 4097).encode())
    with pytest.raises(TextTooLongError, match="too many"):
        vocabularies.get(json.dumps(["a" * 300_000]).encode())


def test_phrases_are_known_with_and_without_their_article(
    modules: dict[str, ModuleType], tokens: object
) -> None:
    vocabulary = (
        modules["vocabulary"].Vocabularies(tokens).get(json.dumps(["a  fox", "", "!", "x" * 200]).encode())
    )
    assert vocabulary.by_letters == {"afox": "a fox", "fox": "a fox"}


def test_the_same_list_is_built_once(modules: dict[str, ModuleType], tokens: object) -> None:
    vocabularies = modules["vocabulary"].Vocabularies(tokens)
    first = vocabularies.get(b'["a fox"]')
    assert vocabularies.get(b'["a fox"]') is first
    for number in range(5):
        vocabularies.get(json.dumps([f"f{number}"]).encode())
    assert vocabularies.get(b'["a fox"]') is not first, "only a few are kept"


class Decoder:
    """A decoder that hears one list of tokens, each with the same probability."""

    def __init__(self, heard: list[int], size: int) -> None:
        self._heard, self._size = heard, size
        self.rows: list[int] = []

    def scores(self, rows: int, place: int) -> np.ndarray:
        scores = np.full((rows, self._size), -9.0, np.float32)
        scores[:, self._heard[min(place, len(self._heard) - 1)]] = -0.1
        return scores

    def step(self, ids: np.ndarray, state: Place) -> tuple[np.ndarray, Place]:
        self.rows.append(len(ids))
        return self.scores(len(ids), state.place + 1), Place(state.place + 1)


class Place:
    def __init__(self, place: int) -> None:
        self.place = place

    def branch(self, rows: list[int]) -> Place:
        return self


def test_search_finds_the_phrase_that_was_heard(modules: dict[str, ModuleType], tokens: object) -> None:
    heard = [*tokens.encode("Fox."), 2]  # type: ignore[attr-defined]
    decoder = Decoder(heard, 259 + len(WORDS) + 1)
    first = (decoder.scores(1, 0), Place(0))
    ids, score = modules["search"].greedy(decoder, first, 20)
    assert ids == heard[:-1]
    assert score == pytest.approx(-0.1)
    vocabulary = modules["vocabulary"].Vocabularies(tokens).get(b'["a bear", "a fox"]')
    found = modules["search"].phrase_search(decoder, first, vocabulary.root)
    assert (found.text, found.score) == ("a fox", pytest.approx(-0.1))
    empty = modules["vocabulary"].Vocabularies(tokens).get(b"[]")
    assert modules["search"].phrase_search(decoder, first, empty.root) is None


def test_endless_repetition_is_bounded(modules: dict[str, ModuleType]) -> None:
    decoder = Decoder([7], 20)
    ids, _ = modules["search"].greedy(decoder, (decoder.scores(1, 0), Place(0)), 12)
    assert ids == [7] * 12


def test_a_phrase_that_cannot_reach_the_mean_is_not_followed(
    modules: dict[str, ModuleType], tokens: object
) -> None:
    heard = [*tokens.encode("Fox."), 2]  # type: ignore[attr-defined]
    decoder = Decoder(heard, 259 + len(WORDS) + 1)
    first = (decoder.scores(1, 0), Place(0))
    vocabulary = modules["vocabulary"].Vocabularies(tokens).get(b'["a bear", "a fox"]')
    find = modules["search"].phrase_search
    assert find(decoder, first, vocabulary.root, -0.2).text == "a fox"
    assert max(decoder.rows) == 1, "nothing but the phrase that was heard is worth a step"
    assert find(decoder, first, vocabulary.root, -0.05) is None


def test_the_tree_knows_how_far_it_goes(modules: dict[str, ModuleType], tokens: object) -> None:
    vocabulary = modules["vocabulary"].Vocabularies(tokens).get(b'["fox", "fox bear"]')

    def depth(node: object) -> int:
        ends = [1] if node.phrase is not None else []  # type: ignore[attr-defined]
        return max(ends + [1 + depth(child) for child in node.children.values()])  # type: ignore[attr-defined]

    def check(node: object) -> None:
        for token, child in node.children.items():  # type: ignore[attr-defined]
            assert (child.token, child.longest) == (token, depth(child))
            check(child)

    check(vocabulary.root)


def test_the_margin_decides(modules: dict[str, ModuleType], tokens: object) -> None:
    search = modules["search"]
    heard = [*tokens.encode("Fox."), 2]  # type: ignore[attr-defined]
    decoder = Decoder(heard, 259 + len(WORDS) + 1)
    first = (decoder.scores(1, 0), Place(0))
    vocabulary = modules["vocabulary"].Vocabularies(tokens).get(b'["a fox", "mountaingoat"]')
    near = search.Transcript("Box.", -0.1 + 0.9 * search.MARGIN)
    far = search.Transcript("Box.", -0.1 + 1.1 * search.MARGIN)
    assert search.choose(decoder, first, near, vocabulary).text == "a fox"
    assert search.choose(decoder, first, far, vocabulary) is far
    spelt = search.choose(decoder, first, search.Transcript("Mountain goat!", -0.2), vocabulary)
    assert (spelt.text, spelt.score) == ("mountaingoat", -0.2)
