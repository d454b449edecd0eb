"""Every file that diffpc reads and does not ship: one table, from which all reports are made."""

from __future__ import annotations

from collections.abc import Sequence

from diffpc.errors import UsageError
from diffpc.external.asset import Asset
from diffpc.external.baselines import BASELINES
from diffpc.external.faces import FACES
from diffpc.external.models import MODELS

ASSETS: dict[str, Asset] = {asset.name: asset for asset in (*MODELS, *FACES, *BASELINES)}
"""name -> asset, in the order in which reports list them."""


def find(names: Sequence[str]) -> tuple[Asset, ...]:
    """The assets of these names, each once; all if there are none.

    Raises:
        UsageError: if one is unknown; the message lists the names.
    """
    for name in names:
        if name not in ASSETS:
            raise UsageError(f"unknown asset {name!r}; choose from: {', '.join(ASSETS)}")
    return tuple(ASSETS[name] for name in dict.fromkeys(names)) if names else tuple(ASSETS.values())
