"""The files that diffpc does not ship: there, whole, the right ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from diffpc.doctor.report import Check, Examination
from diffpc.doctor.run import Options
from diffpc.external.asset import Asset
from diffpc.external.places import assets_root
from diffpc.external.table import ASSETS
from diffpc.external.verify import look, overall, verify


def file_checks(options: Options) -> Mapping[str, Examination]:
    """Asset's name -> check."""
    return {name: partial(_asset, asset, options.hash) for name, asset in ASSETS.items()}


def _asset(asset: Asset, hashed: bool) -> Check:
    findings = (verify if hashed else look)(asset, assets_root())
    state, remedy = overall(findings), f"diffpc assets fetch {asset.name}"
    if state == "absent":
        return Check(asset.name, "absent", f"not here; for: {asset.purpose}", remedy)
    if state in ("wrong", "incomplete"):
        faults = [f"{one.path} {one.detail}" for one in findings if one.state == "wrong"]
        faults += [f"{one.path} is missing" for one in findings if one.state == "absent"]
        return Check(asset.name, "warning", "; ".join(faults), remedy)
    said = "right by its hash" if state == "ok" else state
    return Check(asset.name, "ok", f"{len(findings)} file{'s' * (len(findings) > 1)}: {said}")
