"""What can stop a training run.

TrainingError
├── CandidatesError   a running system did not answer a training query as it should
├── DataError         a catalogue, package or word list is missing or is not what it should be
└── ToolError         a program that training runs is missing or failed
"""

from __future__ import annotations

__all__ = ["CandidatesError", "DataError", "ToolError", "TrainingError"]


class TrainingError(Exception):
    """Base of all errors of this package; the text is meant for the person who trains."""


class CandidatesError(TrainingError):
    """A running system did not answer, answered without a stage, or holds another catalogue."""


class DataError(TrainingError):
    """Training data cannot be had."""


class ToolError(TrainingError):
    """A program is missing or failed."""
