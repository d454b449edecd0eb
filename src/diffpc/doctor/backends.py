"""The back ends that look at faces, each loaded with its weights, and weight files held against their networks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from diffpc.backends import load
from diffpc.doctor.layout import LAYOUTS, weight_files
from diffpc.doctor.report import REINSTALL, Check, Examination, reason_of, remedy_of
from diffpc.doctor.run import Options
from diffpc.errors import DiffPCError
from diffpc.external.licence import BACKENDS, ROLES
from diffpc.external.places import assets_root
from diffpc.external.table import ASSETS
from diffpc.external.verify import look
from diffpc.face3d.model import FACE_MODELS
from diffpc.face3d.predict import PREDICTORS
from diffpc.faces.detect import DETECTORS
from diffpc.faces.embed import EMBEDDERS
from diffpc.faces.matte import MATTERS
from diffpc.identity.local import LOCAL_FEATURES

SEAMS: dict[str, dict[str, str]] = {
    "detector": DETECTORS,
    "embedder": EMBEDDERS,
    "local_features": LOCAL_FEATURES,
    "predictor": PREDICTORS,
    "face_model": FACE_MODELS,
    "matter": MATTERS,
}
"""Field of `FaceSettings` -> its back ends."""

HEAVY = ("clip_vit_h",)
"""Loaded it would take gigabytes; its layout is checked instead."""


def backend_checks(options: Options) -> Mapping[str, Examination]:  # noqa: ARG001 - the areas' common form
    """Name -> check."""
    checks: dict[str, Examination] = {}
    for field, table in SEAMS.items():
        for name in (one for one in table if one not in HEAVY):
            checks[f"{ROLES[field]} {name}"] = partial(_backend, field, name)
    here = [(asset, path) for asset in LAYOUTS for path in weight_files(asset)]
    return checks | {f"layout of {asset}": partial(_layout, asset, path) for asset, path in here}


def _backend(field: str, name: str) -> Check:
    asset = BACKENDS[field][name]
    if isinstance(asset, str) and all(one.state == "absent" for one in look(ASSETS[asset], assets_root())):
        return Check(name, "absent", f"its weights are not here ({asset})", f"diffpc assets fetch {asset}")
    mend = f"diffpc assets fetch {asset} --again" if isinstance(asset, str) else REINSTALL
    try:
        load(ROLES[field], name, SEAMS[field])()
    except DiffPCError as error:
        return Check(name, "warning", reason_of(error), remedy_of(error, mend))
    return Check(name, "ok", "loads")


def _layout(asset: str, path: Path) -> Check:
    try:
        LAYOUTS[asset](path)
    except DiffPCError as error:
        return Check(
            asset, "warning", reason_of(error), remedy_of(error, f"diffpc assets fetch {asset} --again")
        )
    return Check(asset, "ok", f"{path.name} fits its network")
