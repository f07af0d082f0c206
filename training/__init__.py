"""What is learned: heads into the unified space and the calibration of their similarities."""

__all__: list[str] = []
