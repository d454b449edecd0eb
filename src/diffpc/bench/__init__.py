"""Timings against what users would take else, and the machine's limits; see docs/performance.md."""
