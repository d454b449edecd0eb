"""Reference photos -> what the ID-Encoder reads: the paper's pre-processing and frozen encoders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.faces.align import align, cut_crop, face_crop
from diffpc.faces.embed import FaceEmbedder, normalise
from diffpc.faces.matte import Matter, neutralise
from diffpc.identity.local import LocalFeatures
from diffpc.tensors import to_tensor
from diffpc.types import Face, Image


@dataclass(frozen=True)
class ReferenceTools:
    """The frozen parts that look at a reference photo."""

    embedder: FaceEmbedder
    local: LocalFeatures
    matter: Matter
    scale: float
    """Side of the square for the patch features, in face boxes."""


@dataclass(frozen=True)
class ReferenceFeatures:
    """One or several photos of a person as features, with the pictures they come from."""

    global_vector: Float[Tensor, "B 1 d1"]
    """F_global, L2-normalised."""
    patches: Float[Tensor, "B L d2"]
    """F_local."""
    aligned: Image
    """The chip that the embedder saw (of the first photo)."""
    cut: Image
    """The square on a neutral background that the patch features come from (of the first photo)."""


@torch.no_grad()
def reference_features(image: Image, face: Face, tools: ReferenceTools) -> ReferenceFeatures:
    """Features of one face in one photo (B = 1): the embedder sees a chip, the patch features a matted square.

    They are on the CPU wherever the networks are: they are small, and people outlive the device that saw them.
    """
    chip = align(image, face, tools.embedder.template).pixels
    vector = normalise(tools.embedder.embed_chips(to_tensor(chip)[None].to(tools.embedder.device)))
    plain = neutralise(image, tools.matter(image, face))
    square = cut_crop(plain, face_crop(face, tools.local.resolution, tools.scale))
    patches = tools.local(to_tensor(square)[None].to(tools.embedder.device))
    return ReferenceFeatures(vector[:, None].cpu(), patches.cpu(), chip, square)


def averaged(features: list[ReferenceFeatures]) -> ReferenceFeatures:
    """Several photos as one identity: the mean vector, again of length 1, and the patch features' mean."""
    if len(features) == 1:
        return features[0]
    vectors = torch.stack([one.global_vector for one in features]).mean(0)
    patches = torch.stack([one.patches for one in features]).mean(0)
    return ReferenceFeatures(normalise(vectors), patches, features[0].aligned, features[0].cut)
