"""Text to the token rows that a text encoder reads, by its tokenizer.json.

The one place: Triton's text steps and the bench's in-process bound use it. The library `tokenizers` is loaded
with the first tokenizer; only what runs encoders has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from media.errors import TextTooLongError
from media.inputs import token_bucket
from media.limits import Limits

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TextTokens", "padded"]

_Ids = npt.NDArray[np.int64]


class TextTokens:
    """A tokenizer that neither pads nor cuts."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """`path` is a tokenizer.json; it is read and warmed up here."""
        from tokenizers import Tokenizer

        self._limits = limits
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()  # too long is an error, never a silent cut
        self._tokenizer.encode("warm up")

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, in one call; their number is not judged here."""
        if len(texts) == 1:  # the batch call would start threads for it
            return [self._tokenizer.encode(texts[0]).ids]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def bucket(self, row: Sequence[int]) -> int:
        """The padded length of a row. TextTooLongError beyond max_text_tokens or the last bucket."""
        if len(row) > self._limits.max_text_tokens:
            raise TextTooLongError(kind="text", limit=f"max_text_tokens={self._limits.max_text_tokens}")
        return token_bucket(len(row))


def padded(rows: Sequence[Sequence[int]], length: int) -> tuple[_Ids, _Ids]:
    """input_ids and attention_mask, int64 [rows, length]; no row may be longer than `length`."""
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros((len(rows), length), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
