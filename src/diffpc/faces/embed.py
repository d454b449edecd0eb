"""The face as a vector: differentiable embedders that take whole images and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpc.backends import load
from diffpc.faces.align import ChipTemplate, align
from diffpc.faces.align_torch import align_batch
from diffpc.types import Face, Image, LandmarkLayout

EMBEDDERS: dict[str, str] = {
    "dlib": "diffpc.faces.dlib_embedder:dlib_embedder",
    "arcface": "diffpc.faces.arcface_embedder:arcface_embedder",
    "judge": "diffpc.faces.judge_embedder:judge_embedder",
}
"""name -> factory. A factory takes optional keyword arguments (see there) and returns a `FaceEmbedder`."""

DEFAULT_EMBEDDER = "dlib"


@dataclass(frozen=True)
class MetricInfo:
    """How two embeddings of one embedder are compared, and what the number says."""

    kind: str
    """"l2" (raw vectors, small = same person) or "cosine" (large = same person)."""
    threshold: float
    """Where same and different persons part, by the makers of the weights."""
    note: str
    """What to mind."""


@runtime_checkable
class FaceEmbedder(Protocol):
    """Aligned faces -> vectors. Gradients flow to the images and the landmarks; the weights are frozen."""

    name: str
    dimension: int
    """Length D of the vectors."""
    template: ChipTemplate
    """The chip the network sees; `template.size` is its side in pixels."""
    metric: MetricInfo

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the tensors must be."""
        ...

    def embed(
        self, images: Float[Tensor, "B 3 H W"], landmarks: Float[Tensor, "B 5 2"], layout: LandmarkLayout
    ) -> Float[Tensor, "B D"]:
        """Return raw vectors of one face per image (RGB in [-1, 1]; landmarks in its pixels)."""
        ...

    def embed_chips(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """Return raw vectors of faces that are aligned to `template` already."""
        ...


class ChipEmbedder(nn.Module):
    """A `FaceEmbedder` made of a network that takes chips, and the template the network was trained with."""

    def __init__(
        self, name: str, network: nn.Module, dimension: int, template: ChipTemplate, metric: MetricInfo
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.dimension = dimension
        self.template = template
        self.metric = metric

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def embed(
        self, images: Float[Tensor, "B 3 H W"], landmarks: Float[Tensor, "B 5 2"], layout: LandmarkLayout
    ) -> Float[Tensor, "B D"]:
        """Align, then embed; see `FaceEmbedder.embed`."""
        return self.embed_chips(align_batch(images, landmarks, layout, self.template))

    def embed_chips(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """Embed aligned faces; see `FaceEmbedder.embed_chips`."""
        return self.network(chips)


def load_embedder(name: str = DEFAULT_EMBEDDER, **options: object) -> FaceEmbedder:
    """Build an embedder by name; `options` go to its factory.

    Raises:
        UsageError: if the name is unknown or its package is not installed.
        InputError: if its weights are missing or damaged.
    """
    return load("face embedder", name, EMBEDDERS)(**options)


@torch.no_grad()
def embed_faces(embedder: FaceEmbedder, image: Image, faces: Sequence[Face]) -> Float[Tensor, "N D"]:
    """Return the raw vectors of faces in one photo, without gradients, from chips of 8 bits per channel."""
    if not faces:
        return torch.zeros(0, embedder.dimension, device=embedder.device)
    chips = np.stack([align(image, face, embedder.template).pixels for face in faces])
    values = torch.from_numpy(chips).to(embedder.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    return embedder.embed_chips(values)


def normalise(vectors: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Scale vectors to length 1."""
    return functional.normalize(vectors, dim=-1)


def cosine_similarity(first: Float[Tensor, "*B D"], second: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """Cosine between raw or normalised vectors, in [-1, 1]; Sim of the paper's tables."""
    return (normalise(first) * normalise(second)).sum(-1)
