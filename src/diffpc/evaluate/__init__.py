"""Benchmarks, metrics and reports: how well portraits obey, measured so that anyone can measure it again."""
