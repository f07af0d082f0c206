"""Sets of vectors, the one shape in which tokens and segments come, and what may be wrong with them.

KernelError(ValueError)
├── ShapeError       shapes, types or devices do not fit each other
├── NotFiniteError   a row holds NaN or infinity, or is longer than ``LONGEST``
├── BoundError       k or the temperature is out of range
└── DeviceError      there is no kernel here for the device of the arrays
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LONGEST",
    "BoundError",
    "DeviceError",
    "KernelError",
    "NotFiniteError",
    "ShapeError",
    "VectorSets",
]

LONGEST: Final = 1e15
"""Norm of a row at most: then no dot product of two rows overflows float32, nor does one over 1e-4."""


class KernelError(ValueError):
    """Base of what the kernels refuse."""


class ShapeError(KernelError):
    """Shapes, types or devices do not fit each other."""


class NotFiniteError(KernelError):
    """A row holds NaN or infinity, or is too long for float32."""


class BoundError(KernelError):
    """A number is out of its range."""


class DeviceError(KernelError):
    """No kernel can run where the arrays are."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorSets:
    """n sets of vectors: set i is ``rows[offsets[i]:offsets[i + 1]]``, and may be empty.

    ``rows`` [r, d] is float16, float32 or float64, a NumPy array or a torch tensor (then bfloat16, too);
    ``offsets`` [n + 1] is int64, NumPy always: it does not fall, begins with 0 and ends with r. What a mask
    leaves out of a padded array has no row here, so no kernel ever spends time on it. Built by ``of`` or
    ``from_padded``, which check it once; arrays are taken as they are and must not be changed afterwards.
    """

    rows: Any
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Any, offsets: ArrayLike) -> VectorSets:
        """Checked sets.

        Raises:
            ShapeError: see the class.
            NotFiniteError: a row that cannot be compared; the message names it.
        """
        ends = np.asarray(offsets)
        if len(rows.shape) != 2 or not rows.shape[1]:
            raise ShapeError(f"rows are [r, d] with d > 0, not {list(rows.shape)}")
        if (
            not str(rows.dtype)
            .removeprefix("torch.")
            .startswith(("float16", "float32", "float64", "bfloat16"))
        ):
            raise ShapeError(f"rows are float16, bfloat16, float32 or float64, not {rows.dtype}")
        if ends.ndim != 1 or not ends.size or ends.dtype.kind not in "iu":
            raise ShapeError("offsets are integers [n + 1]")
        ends = ends.astype(np.int64)
        if ends[0] != 0 or ends[-1] != rows.shape[0] or (np.diff(ends) < 0).any():
            raise ShapeError(f"offsets rise from 0 to the number of rows, {rows.shape[0]}")
        _check_rows(rows)
        return cls(rows, ends)

    @classmethod
    def from_padded(cls, values: Any, mask: Any) -> VectorSets:
        """From ``values`` [n, s, d] and ``mask`` [n, s], true where there is a vector; on the same device.

        What is masked may hold anything, NaN too. Raises as ``of``.
        """
        if len(values.shape) != 3 or tuple(mask.shape) != tuple(values.shape[:2]):
            raise ShapeError(
                f"a mask [n, s] of values [n, s, d], not {list(mask.shape)} of {list(values.shape)}"
            )
        if not str(mask.dtype).endswith("bool"):
            raise ShapeError(f"a mask is bool, not {mask.dtype}")
        counts = np.asarray(mask.sum(1).tolist(), np.int64).reshape(-1)
        return cls.of(values[mask], np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """d."""
        return int(self.rows.shape[1])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Vectors of each set, [n]."""
        return np.diff(self.offsets)


def _check_rows(rows: Any) -> None:
    if not rows.shape[0]:
        return
    # One pass: NaN and infinity show in the squared length, as does what would overflow.
    if isinstance(rows, np.ndarray):
        wide = rows.astype(np.float32) if rows.dtype == np.float16 else rows
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("rd,rd->r", wide, wide)
            good = squares <= LONGEST**2
        worst = int(np.argmin(good))
    else:
        good = rows.float().square().sum(1) <= LONGEST**2
        worst = int(good.int().argmin())
    if not bool(good[worst]):
        raise NotFiniteError(f"row {worst} holds NaN or infinity, or is longer than {LONGEST:g}")
