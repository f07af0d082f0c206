"""What stops a load test.

LoadTestError
├── PayloadsError       the queries to send are missing, or a modality has none
├── SettingsError       what was asked for makes no sense
└── UnreachableError    nothing answers where the system should be
"""

from __future__ import annotations

__all__ = ["LoadTestError", "PayloadsError", "SettingsError", "UnreachableError"]


class LoadTestError(Exception):
    """Base of what stops a load test; the text is meant for a terminal."""


class PayloadsError(LoadTestError):
    """The queries to send are missing, or a modality has none."""


class SettingsError(LoadTestError):
    """What was asked for makes no sense."""


class UnreachableError(LoadTestError):
    """Nothing answers where the system should be."""
