"""Everything that can go wrong in an export, as one tree.

ExportError
├── ProfileError        the profile YAML is missing, malformed or names something unknown
├── FetchError          pip could not bring a wheel, or its bytes are not the pinned ones
├── WeightsError        a weight file does not hold what the architecture needs
├── SamplesError        no catalogue, or too few real inputs in it, to measure with
├── ParityError         ONNX and torch disagree by more than the profile allows
├── QuantizeError       ONNX Runtime's quantiser failed or left the model in floating point
├── InstallError        an artifact could not be put in the model repository
└── TensorRTError       a graph or a plan for TensorRT cannot be made
    ├── QdqError        ModelOpt failed, or what it wrote is not what TensorRT needs
    ├── NoGpuError      there is no NVIDIA GPU, driver or TensorRT to build a plan with
    └── PlanError       TensorRT refused a graph, or its plan computes something else
"""

from __future__ import annotations

__all__ = [
    "ExportError",
    "FetchError",
    "InstallError",
    "NoGpuError",
    "ParityError",
    "PlanError",
    "ProfileError",
    "QdqError",
    "QuantizeError",
    "SamplesError",
    "TensorRTError",
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


class TensorRTError(ExportError):
    """Something for TensorRT cannot be made."""


class QdqError(TensorRTError):
    """A graph with explicit Q/DQ could not be made, or breaks a rule of TensorRT."""


class NoGpuError(TensorRTError):
    """Nothing to build a plan with."""


class PlanError(TensorRTError):
    """A plan could not be built, or is not faithful."""
