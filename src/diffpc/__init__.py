"""Diff-PC: portraits that keep a person's identity and obey a 3D face and a text."""
