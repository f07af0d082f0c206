"""The kernel in the Triton language (Tillet, Kung and Cox, "Triton: an intermediate language and compiler for
tiled neural network computations", MAPL 2019), for tensors on a GPU.

One program reads a share of the candidates for one query: products of a tile of tokens with a tile of
segments, a softmax over the segments that is corrected as they come by (Milakov and Gimelshein, "Online
normalizer calculation for softmax", 2018), the mean over tokens, and the best k of its share. Only those k
are written, as one integer each that sorts by score and then by candidate; torch sorts what the programs
left.

With TRITON_INTERPRET=1 in the environment before this is imported, the same kernel runs on CPU tensors,
slowly: that is how it is tested, and it compiles for sm_80 and sm_90. It has not yet run on a GPU.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.keys import unpack
from kernels.sets import DeviceError, VectorSets

__all__ = ["TILES", "best_of_share", "retrieve"]

TILES: Final = {"token_tile": 16, "candidate_tile": 16, "segment_tile": 8, "depth_tile": 64}
"""Tokens of a query, candidates, segments of each, and how much of a vector a program takes at a time."""
_CANDIDATES: Final = TILES["candidate_tile"]
_SHARES: Final = 128
"""Programs of one query at most; each has whole tiles of candidates."""


@triton.jit
def best_of_share(
    tokens,
    token_offsets,
    segments,
    segment_offsets,
    keys,
    candidates,
    dim,
    tiles,
    inverse_temperature,
    token_tile: tl.constexpr,
    candidate_tile: tl.constexpr,
    segment_tile: tl.constexpr,
    depth_tile: tl.constexpr,
    best_size: tl.constexpr,
    as_float32: tl.constexpr,
):
    """Writes keys [b, shares, best_size] int64: of share ``program_id(0)`` for query ``program_id(1)``."""
    share, query = tl.program_id(0), tl.program_id(1)
    token_first = tl.load(token_offsets + query)
    token_count = tl.load(token_offsets + query + 1) - token_first
    nothing = tl.full([1], -(2**63), tl.int64)
    best = tl.broadcast_to(nothing, [best_size])
    for tile in range(tiles):
        candidate = (share * tiles + tile) * candidate_tile + tl.arange(0, candidate_tile)
        there = candidate < candidates
        first = tl.load(segment_offsets + candidate, mask=there, other=0)
        count = tl.load(segment_offsets + candidate + 1, mask=there, other=0) - first
        longest = tl.max(count, 0)
        total = tl.zeros([candidate_tile], tl.float32)
        for token in range(0, token_count, token_tile):
            at = token + tl.arange(0, token_tile)
            asked = at < token_count
            token_rows = tokens + (token_first + at)[:, None] * dim
            highest = tl.full([token_tile, candidate_tile], float("-inf"), tl.float32)
            weight = tl.zeros([token_tile, candidate_tile], tl.float32)
            weighted = tl.zeros([token_tile, candidate_tile], tl.float32)
            for segment in range(0, longest, segment_tile):
                within = segment + tl.arange(0, segment_tile)
                held = within[None, :] < count[:, None]
                row = tl.reshape(first[:, None] + within[None, :], [candidate_tile * segment_tile])
                row_held = tl.reshape(held, [candidate_tile * segment_tile])
                product = tl.zeros([token_tile, candidate_tile * segment_tile], tl.float32)
                for depth in range(0, dim, depth_tile):
                    column = depth + tl.arange(0, depth_tile)
                    inside = column < dim
                    left = tl.load(
                        token_rows + column[None, :], mask=asked[:, None] & inside[None, :], other=0.0
                    )
                    right = tl.load(
                        segments + row[None, :] * dim + column[:, None],
                        mask=row_held[None, :] & inside[:, None],
                        other=0.0,
                    )
                    if as_float32:
                        left, right = left.to(tl.float32), right.to(tl.float32)
                    product += tl.dot(left, right, input_precision="ieee", out_dtype=tl.float32)
                similarity = tl.reshape(product, [token_tile, candidate_tile, segment_tile])
                logit = tl.where(held[None, :, :], similarity * inverse_temperature, float("-inf"))
                higher = tl.maximum(highest, tl.max(logit, 2))
                # Nothing seen yet: any shift will do, but -inf - -inf would be NaN.
                shift = tl.where(higher == float("-inf"), 0.0, higher)
                old = tl.exp(highest - shift)
                new = tl.exp(logit - shift[:, :, None])
                weight = weight * old + tl.sum(new, 2)
                weighted = weighted * old + tl.sum(new * similarity, 2)
                highest = higher
            attended = tl.where(
                asked[:, None] & (count > 0)[None, :], weighted / tl.maximum(weight, 1e-30), 0.0
            )
            total += tl.sum(attended, 0)
        # Adding 0 makes -0 equal to 0, as it is for whoever sorts by score.
        score = total / token_count + 0.0
        bits = score.to(tl.int32, bitcast=True)
        rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        key = (rising.to(tl.int64) << 32) | (0xFFFFFFFF - candidate.to(tl.int64))
        key = tl.where(there & (count > 0) & (token_count > 0), key, nothing)
        # Of two sequences of equal length, one falling and one rising, the greater of each pair are the best.
        spread = tl.where(
            tl.arange(0, best_size // candidate_tile)[None, :] == 0, key[:, None], nothing[:, None]
        )
        best = tl.sort(tl.maximum(best, tl.sort(tl.reshape(spread, [best_size]))), descending=True)
    place = (query * tl.num_programs(0) + share) * best_size + tl.arange(0, best_size)
    tl.store(keys + place, best)


def retrieve(
    queries: VectorSets, candidates: VectorSets, k: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """See ``kernels.retrieve``, which checks. Scores [b, k] float32 and candidates [b, k] int64.

    Raises:
        DeviceError: a type without a kernel.
    """
    rows = queries.rows.contiguous(), candidates.rows.contiguous()
    if rows[0].dtype == torch.float64:
        raise DeviceError("there is no Triton kernel for torch.float64")
    device = rows[0].device
    tiles = triton.cdiv(triton.cdiv(len(candidates), _CANDIDATES), _SHARES) or 1
    shares = triton.cdiv(len(candidates), tiles * _CANDIDATES)
    best = max(triton.next_power_of_2(k), _CANDIDATES)
    keys = torch.empty((len(queries), shares, best), dtype=torch.int64, device=device)
    if keys.numel():
        best_of_share[(shares, len(queries))](
            rows[0],
            torch.from_numpy(queries.offsets).to(device),
            rows[1],
            torch.from_numpy(candidates.offsets).to(device),
            keys,
            len(candidates),
            queries.dim,
            tiles,
            1.0 / temperature,
            **TILES,
            best_size=best,
            # Triton 3.9's interpreter would multiply the bits of bfloat16 as integers.
            as_float32=device.type == "cpu",
        )
    return unpack(keys.flatten(1), k)
