"""Runs NVIDIA Triton from a PyPI wheel where there is no GPU and no container: installer and supervisor."""

from __future__ import annotations

from serving.errors import ServingError
from serving.install import check_installed, install
from serving.lock import is_supervised
from serving.settings import Settings
from serving.state import ModelState, ServerState, read_state
from serving.supervisor import Supervisor

__all__ = [
    "ModelState",
    "ServerState",
    "ServingError",
    "Settings",
    "Supervisor",
    "check_installed",
    "install",
    "is_supervised",
    "read_state",
]
