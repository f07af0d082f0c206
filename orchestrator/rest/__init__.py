"""The REST face: the same calls, files of items, and the search page."""

from orchestrator.rest.app import build_app

__all__ = ["build_app"]
