"""Timings against what people would otherwise use."""
