"""Where models lie, and what their folders say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from diffpc.changes import Changes
from diffpc.errors import InputError, UsageError
from diffpc.external.digests import digest
from diffpc.files import asset
from diffpc.libraries import explained
from diffpc.pipeline import DiffPCPipeline

BUNDLED = "tiny"
"""Name of the model that ships with the package."""

INDEX = "model_index.json"
"""Marks a folder that `save_pretrained` wrote."""


def place_of(name: str) -> Path:
    """The bundled model's folder, the folder or file of that name, or the copy of the hub's repository.

    Raises:
        UsageError: if it can be none of them.
        InputError: if it is not there.
    """
    if name == BUNDLED:
        return asset(BUNDLED)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        if "/" in name:
            raise InputError(f"{name}: no such file or folder; check the path")
        raise UsageError(f"unknown model {name!r}; choose {BUNDLED}, a folder, or OWNER/NAME on the hub")
    with explained(name, "no such folder, and not reachable on the hub: check the name and the network"):
        return Path(str(DiffPCPipeline.download(name, use_safetensors=True)))


def native_size(place: Path) -> tuple[int, int] | None:
    """Width, height in pixels that a model draws by default; None for an adapter alone."""
    unet, vae = (place / part / "config.json" for part in ("unet", "vae"))
    if not unet.is_file() or not vae.is_file():
        return None
    side, levels = read_object(unet).get("sample_size"), read_object(vae).get("block_out_channels")
    if not isinstance(side, int) or not isinstance(levels, list):
        return None
    pixels = side * 2 ** (len(cast(list[int], levels)) - 1)
    return pixels, pixels


def weight_hashes(folder: Path) -> dict[str, str]:
    """Path below the folder -> sha256 of every weight file in it; of a single file, its name -> sha256."""
    if folder.is_file():
        return {folder.name: digest(folder)}
    return {
        path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*.safetensors"))
    }


def model_hashes(model: Path, base: Path | None, changes: Changes) -> dict[str, str]:
    """sha256 of all weight files that draw; what is not the model's own is under its own heading.

    Args:
        model: where it lies.
        base: what replaces its base.
        changes: what replaces the base's UNet and VAE, and LoRAs; idle ones do not count.
    """
    hashes = weight_hashes(model)
    if base:
        if model.is_dir():
            hashes = {name: value for name, value in hashes.items() if name.startswith("id_")}
        hashes |= _under("base", base)
    for heading, place in (("unet", changes.unet), ("vae", changes.vae)):
        if place:
            replaced = (f"{heading}/", f"base/{heading}/")
            hashes = {name: value for name, value in hashes.items() if not name.startswith(replaced)}
            hashes |= _under(heading, place)
    for lora in changes.loras:
        hashes |= _under("lora", lora.path)
    return hashes


def _under(heading: str, place: Path) -> dict[str, str]:
    return {f"{heading}/{name}": value for name, value in weight_hashes(place).items()}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file with an object.

    Raises:
        InputError: if it is none.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download or copy it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: is not a JSON object; download or copy it again")
    return cast(dict[str, Any], values)
