"""ID-Encoder: one global vector and many patch features become 32 identity tokens (Eq. 8 to 11)."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn


class IDEncoder(ModelMixin, ConfigMixin):
    """A transformer decoder whose queries are learned and whose keys and values are the face's features."""

    @register_to_config
    def __init__(
        self,
        global_width: int,
        local_width: int,
        width: int,
        tokens: int = 32,
        layers: int = 4,
        heads: int = 16,
    ) -> None:
        """Build with random weights.

        Args:
            global_width: d1, width of the face embedding.
            local_width: d2, width of the patch features.
            width: d, the UNet's cross-attention width.
            tokens: number of learned queries.
            layers: decoder layers, pre-norm.
            heads: attention heads.
        """
        super().__init__()
        self.project_global = nn.Linear(global_width, width)
        self.project_local = nn.Linear(local_width, width)
        self.queries = nn.Parameter(torch.randn(1, tokens, width) * width**-0.5)
        layer = nn.TransformerDecoderLayer(
            width,
            heads,
            dim_feedforward=4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        for parameter in self.decoder.parameters():
            if parameter.ndim > 1:  # as `nn.Transformer` does: the layers start as copies of one another
                nn.init.xavier_uniform_(parameter)
        self.register_buffer("global_mean", torch.zeros(global_width))
        self.register_buffer("global_deviation", torch.full((global_width,), global_width**-0.5))
        self.register_buffer("local_mean", torch.zeros(local_width))
        self.register_buffer("local_deviation", torch.ones(local_width))

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
        projected = [self.project_global(vectors), self.project_local(patches)]  # Eq. 8, 9
        keys = torch.cat(projected, dim=1)  # the circled dot of Eq. 10
        return self.decoder(self.queries.expand(len(keys), -1, -1), keys)


def _standardised(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Zero mean and unit variance; rows of zeros, which stand for dropped features, stay zeros."""
    kept = features.ne(0).any(dim=-1, keepdim=True)
    return (features - mean) / deviation * kept
