"""The run directory: where a run's settings, checkpoints, metrics and environment lie."""
