"""Relevance and speed of a running system, measured through its public API alone."""

__all__: list[str] = []
