"""The face embedder of antelopev2: ArcFace, as our own differentiable network.

The weights are for non-commercial research only and are the user's to fetch.
"""

from __future__ import annotations

from pathlib import Path

from diffpc.backends import require
from diffpc.errors import InputError
from diffpc.faces.align import ARCFACE_112
from diffpc.faces.assets import insightface_model
from diffpc.faces.embed import ChipEmbedder, MetricInfo

WEIGHT_FILE = "glintr100.onnx"

_METRIC = MetricInfo(
    kind="cosine",
    threshold=0.35,
    note="customary, not published with the weights: calibrate it on your own pairs",
)


def arcface_embedder(root: Path | None = None) -> ChipEmbedder:
    """Build ArcFace (IResNet-100) from `glintr100.onnx`.

    Args:
        root: where antelopev2 lies; see `assets.insightface_model`.

    Raises:
        UsageError: if `onnx` is not installed, or `root` is no folder.
        InputError: if the model file is missing, damaged or no IResNet.
    """
    require("onnx", "insightface")
    from diffpc.faces.iresnet_onnx import load_iresnet

    network = load_iresnet(insightface_model(WEIGHT_FILE, root))
    if network.settings.size != ARCFACE_112.size:
        raise InputError(f"{WEIGHT_FILE} takes chips of {network.settings.size} pixels; expected 112")
    return ChipEmbedder("arcface", network, network.settings.dimension, ARCFACE_112, _METRIC)
