"""Diff-PC: portraits that keep a person's identity and obey a 3D face and a text."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Angles": "diffpc.face3d.pose",
    "DiffPCPipeline": "diffpc.pipeline",
    "Placement": "diffpc.face3d.predict",
    "Portrait": "diffpc.pipeline",
    "PortraitSettings": "diffpc.pipeline",
    "condition": "diffpc.face3d.predict",
    "gathered": "diffpc.person",
    "load_adapter": "diffpc.loading",
    "load_identity": "diffpc.identity_file",
    "load_pipeline": "diffpc.loading",
    "posed": "diffpc.face3d.predict",
    "preset": "diffpc.face3d.presets",
    "read_image": "diffpc.images",
    "save_identity": "diffpc.identity_file",
    "write_png": "diffpc.images",
}

__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll] - the names are loaded when asked for


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import diffpc` alone loads no torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diffpc' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
