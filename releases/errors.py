"""What can go wrong with a release.

ReleaseError
├── UnknownReleaseError     there is none of that name
├── BrokenReleaseError      a file is not what the manifest says, or the manifest is not what its hash says
├── ReleaseExistsError      there is one of that name: releases do not change
└── StateError              the state does not allow it, or cannot be read
"""

from __future__ import annotations

__all__ = ["BrokenReleaseError", "ReleaseError", "ReleaseExistsError", "StateError", "UnknownReleaseError"]


class ReleaseError(Exception):
    """A release cannot be made, read or served."""


class UnknownReleaseError(ReleaseError):
    """There is no release of that name."""


class BrokenReleaseError(ReleaseError):
    """A release is not what it was when it was made."""


class ReleaseExistsError(ReleaseError):
    """There is a release of that name already."""


class StateError(ReleaseError):
    """What is served cannot be changed so, or is not known."""
