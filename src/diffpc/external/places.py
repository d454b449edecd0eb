"""Where the user's models lie on this machine. Nothing here downloads."""

from __future__ import annotations

import os
from pathlib import Path

from diffpc.external.asset import File

ASSETS_VARIABLE = "DIFFPC_ASSETS"
"""Environment variable that names the folder of models the user fetched."""

PACK = "antelopev2"


def assets_root() -> Path:
    """Return the folder of models the user fetched: $DIFFPC_ASSETS, or ~/.cache/diffpc."""
    named = os.environ.get(ASSETS_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "diffpc"


def pack_places(start: Path) -> tuple[Path, ...]:
    """Folders below `start` where antelopev2's files may lie: its official zip is nested in itself."""
    models = start / "models" / PACK
    return (start, start / PACK, start / PACK / PACK, models, models / PACK)


def insightface_home() -> Path:
    """Where insightface itself keeps its packs."""
    return Path.home() / ".insightface"


def hub_cache() -> Path:
    """Hugging Face's cache: $HF_HUB_CACHE, $HF_HOME/hub, or where the library puts it else."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "hub"


def located(file: File, root: Path) -> Path:
    """Where a file lies, or where it belongs if it lies nowhere that diffpc looks."""
    place = root / file.place
    if place.is_file() or PACK not in file.place:
        return place
    others = (folder / file.name for start in (root, insightface_home()) for folder in pack_places(start))
    return next((path for path in others if path.is_file()), place)
