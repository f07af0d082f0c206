"""Everything that can go wrong in an export, as one tree.

ExportError
├── ProfileError        the profile YAML is missing, malformed or names something unknown
├── FetchError          pip could not bring a wheel, or its bytes are not the pinned ones
├── WeightsError        a weight file does not hold what the architecture needs
├── SamplesError        no catalogue, or too few real inputs in it, to measure with
├── ParityError         ONNX and torch disagree by more than the profile allows
├── QuantizeError       ONNX Runtime's quantiser failed or left the model in floating point
└── InstallError        an artifact could not be put in the model repository
"""

from __future__ import annotations

__all__ = [
    "ExportError",
    "FetchError",
    "InstallError",
    "ParityError",
    "ProfileError",
    "QuantizeError",
    "SamplesError",
    "WeightsError",
]


class ExportError(Exception):
    """Base of all errors of this package; the text is meant for the person who ran the export."""


class ProfileError(ExportError):
    """The profile cannot be used."""


class FetchError(ExportError):
    """A source could not be fetched, or is not what was pinned."""


class WeightsError(ExportError):
    """A checkpoint does not fit its architecture."""


class SamplesError(ExportError):
    """There are no real inputs to measure with."""


class ParityError(ExportError):
    """The ONNX graph does not compute what torch computes."""


class QuantizeError(ExportError):
    """Quantisation failed."""


class InstallError(ExportError):
    """The model repository could not be filled."""
