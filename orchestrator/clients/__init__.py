"""Clients of what runs beside the orchestrator. Only this package imports tritonclient or pymilvus."""
