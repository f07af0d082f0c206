"""Moonshine's tokens: reading tokenizer.bin, text of tokens, tokens of text.

The file is a plain list: a length byte (from 128 on, its low 7 bits and a second byte shifted by 7), then
that many bytes of UTF-8. Tokens are those of a byte-pair encoder in SentencePiece's manner, whose earlier
tokens merge first, so that text is encoded without a list of merges.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["Tokens"]

_SPACE = "\u2581"
_FIRST_BYTE_TOKEN = 3  # 0 to 2 are unknown, start, end; then come the 256 bytes
_FIRST_PIECE = _FIRST_BYTE_TOKEN + 256
_CONTROL = b"<<ST_"


class Tokens:
    def __init__(self, path: Path) -> None:
        """Raises ValueError when the file is not such a list."""
        self._pieces = _read(path.read_bytes())
        if len(self._pieces) < _FIRST_PIECE:
            raise ValueError(f"{path.name} holds {len(self._pieces)} tokens: not Moonshine's list")
        pieces = [(piece, index) for index, piece in enumerate(self._pieces) if index >= _FIRST_PIECE]
        self._ids = dict(reversed(pieces))  # the earlier of equal ones

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, without control tokens and the space in front."""
        data = bytearray()
        for index in ids:
            if index >= _FIRST_BYTE_TOKEN and not self._pieces[index].startswith(_CONTROL):
                data += self._pieces[index]
        return data.decode("utf-8", "replace").replace(_SPACE, " ").strip()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without start and end. Characters that no token holds become their bytes."""
        pieces = [char.encode() for char in _SPACE + text.strip().replace(" ", _SPACE)]
        while len(pieces) > 1:
            ranked = [
                (rank, place)
                for place in range(len(pieces) - 1)
                if (rank := self._ids.get(pieces[place] + pieces[place + 1])) is not None
            ]
            if not ranked:
                break
            _, place = min(ranked)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        ids: list[int] = []
        for piece in pieces:
            known = self._ids.get(piece)
            ids += [known] if known is not None else [_FIRST_BYTE_TOKEN + byte for byte in piece]
        return ids


def _read(data: bytes) -> list[bytes]:
    pieces, place = [], 0
    while place < len(data):
        length = data[place]
        place += 1
        if length >= 128:
            if place == len(data):
                raise ValueError("the token list ends inside a length")
            length = (length & 0x7F) | (data[place] << 7)
            place += 1
        if place + length > len(data):
            raise ValueError("the token list ends inside a token")
        pieces.append(data[place : place + length])
        place += length
    return pieces
