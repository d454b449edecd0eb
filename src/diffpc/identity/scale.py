"""What all forms of identity tokens share: their call, and the scale on which they see features."""

from abc import ABC, abstractmethod

import torch
from diffusers import ConfigMixin, ModelMixin
from jaxtyping import Float
from torch import Tensor

from diffpc.settings import AdapterSettings


class IdentityEncoder(ModelMixin, ConfigMixin, ABC):
    """(F_global, F_local) -> F'_id, identity tokens at the UNet's cross-attention width.

    Each form names `ModelMixin` again: the library looks for it in the form's own module to know how to load it.
    """

    def __init__(self, global_width: int, local_width: int) -> None:
        """Make the statistics; a form builds its networks after it.

        Args:
            global_width: d1, width of the face embedding.
            local_width: d2, width of the patch features.
        """
        super().__init__()
        self.register_buffer("global_mean", torch.zeros(global_width))
        self.register_buffer("global_deviation", torch.full((global_width,), global_width**-0.5))
        self.register_buffer("local_mean", torch.zeros(local_width))
        self.register_buffer("local_deviation", torch.ones(local_width))

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: AdapterSettings, width: int) -> "IdentityEncoder":
        """This form untrained, for a UNet of that cross-attention width."""

    @abstractmethod
    def encode(
        self, vectors: Float[Tensor, "B 1 d1"], patches: Float[Tensor, "B L d2"]
    ) -> Float[Tensor, "B N d"]:
        """Tokens from standardised features."""

    @torch.no_grad()
    def fit_scale(self, vectors: Float[Tensor, "R 1 d1"], patches: Float[Tensor, "R L d2"]) -> None:
        """Standardise features by the statistics of these, from now on and wherever the weights are loaded.

        Face embeddings of any two persons may be nearly the same vector (dlib's have a mean cosine of 0.8): what
        tells persons apart is the small rest, which would drown otherwise. Unfitted, a vector of length 1 becomes
        one of unit variance, and patch features stay as they are.
        """
        self.get_buffer("global_mean").copy_(vectors.mean((0, 1)))
        self.get_buffer("global_deviation").copy_(vectors.std((0, 1)).clamp_min(1e-3))
        self.get_buffer("local_mean").copy_(patches.mean((0, 1)))
        self.get_buffer("local_deviation").copy_(patches.std((0, 1)).clamp_min(1e-3))

    def forward(
        self, global_features: Float[Tensor, "B 1 d1"], local_features: Float[Tensor, "B L d2"]
    ) -> Float[Tensor, "B N d"]:
        """F'_id from F_global (L2-normalised) and F_local; either may be zeros: dropped in training."""
        vectors = _standardised(global_features, self.global_mean, self.global_deviation)
        patches = _standardised(local_features, self.local_mean, self.local_deviation)
        return self.encode(vectors, patches)


def _standardised(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Zero mean and unit variance; rows of zeros, which stand for dropped features, stay zeros."""
    kept = features.ne(0).any(dim=-1, keepdim=True)
    return (features - mean) / deviation * kept
