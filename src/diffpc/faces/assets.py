"""Where the face models lie on this machine. Nothing here downloads."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from diffpc.errors import InputError, UsageError
from diffpc.external.places import assets_root, insightface_home, pack_places
from diffpc.files import asset


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


def frontal_face_detector() -> Path:
    """Return the path of dlib's HOG detector as `dlib.get_frontal_face_detector().save` wrote it.

    dlib makes it of its own code in 0.7 s of a processor, and reads this file in a millisecond: the same detector.
    """
    return asset("face_detector/dlib_frontal_face.svm")


def insightface_model(name: str, root: Path | None = None) -> Path:
    """Return the path of a file of the antelopev2 pack.

    The official zip holds a nested `antelopev2/antelopev2/`, so each place is searched at both depths.

    Args:
        name: file name, "scrfd_10g_bnkps.onnx" or "glintr100.onnx".
        root: the folder that holds the files, or `antelopev2/`, or `models/antelopev2/`. By default
            $DIFFPC_ASSETS or ~/.cache/diffpc, then ~/.insightface.

    Raises:
        UsageError: if `root` is no folder.
        InputError: if the file is in none of the places; the message lists them.
    """
    if root is not None and not root.is_dir():
        raise UsageError(f"{root} is no folder; give the folder that holds antelopev2")
    starts = (root,) if root is not None else (assets_root(), insightface_home())
    places = [place for start in starts for place in pack_places(start)]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise InputError(
        f"{name} was not found in any of: {', '.join(map(str, places))}; run: diffpc assets fetch "
        "antelopev2 (weights for non-commercial research only), or set DIFFPC_ASSETS to the folder that holds it"
    )
