"""The query pipeline and its API."""
