"""Where the face models lie on this machine. Nothing here downloads."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from diffpc.errors import InputError, UsageError

ASSETS_VARIABLE = "DIFFPC_ASSETS"
"""Environment variable that names the folder of models the user fetched."""


def assets_root() -> Path:
    """Return the folder of models the user fetched: $DIFFPC_ASSETS, or ~/.cache/diffpc."""
    named = os.environ.get(ASSETS_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "diffpc"


def dlib_model(name: str) -> Path:
    """Return the path of a model file of the `face-recognition-models` package.

    The package is located but never imported: its `__init__` needs pkg_resources, which setuptools dropped.

    Args:
        name: file name, for instance "shape_predictor_5_face_landmarks.dat".

    Raises:
        UsageError: if the package is not installed.
        InputError: if it is installed but lacks the file.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "face-recognition-models is not installed; run: pip install 'face-recognition-models>=0.3'"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "models" / name
    if not path.is_file():
        raise InputError(
            f"{path} is missing; run: pip install --force-reinstall --no-deps face-recognition-models"
        )
    return path


def insightface_model(name: str, root: Path | None = None) -> Path:
    """Return the path of a file of the antelopev2 pack.

    The official zip holds a nested `antelopev2/antelopev2/`, so each place is searched at both depths.

    Args:
        name: file name, "scrfd_10g_bnkps.onnx" or "glintr100.onnx".
        root: the folder that holds the files, or `antelopev2/`, or `models/antelopev2/`. By default
            $DIFFPC_ASSETS, then ~/.insightface.

    Raises:
        UsageError: if `root` is no folder.
        InputError: if the file is in none of the places; the message lists them.
    """
    if root is not None and not root.is_dir():
        raise UsageError(f"{root} is no folder; give the folder that holds antelopev2")
    places = [place for start in _roots(root) for place in _pack_places(start)]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise InputError(
        f"{name} was not found in any of: {', '.join(map(str, places))}; download antelopev2.zip from "
        f"insightface's model zoo (weights for non-commercial research only), unpack it and set "
        f"{ASSETS_VARIABLE} to the folder that holds it"
    )


def _roots(root: Path | None) -> tuple[Path, ...]:
    if root is not None:
        return (root,)
    named = os.environ.get(ASSETS_VARIABLE)
    home = Path.home() / ".insightface"
    return (Path(named), home) if named else (home,)


def _pack_places(start: Path) -> tuple[Path, ...]:
    pack = "antelopev2"
    return (
        start,
        start / pack,
        start / pack / pack,
        start / "models" / pack,
        start / "models" / pack / pack,
    )
