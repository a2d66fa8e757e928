"""Benchmarks: how fast the function is, beside what one would use instead. `python -m benchmarks` runs them all."""
