"""ID-Encoder: one global vector and many patch features become 32 identity tokens (Eq. 8 to 11)."""

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.identity.scale import IdentityEncoder
from diffpc.settings import AdapterSettings


class IDEncoder(IdentityEncoder, ModelMixin):
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
        super().__init__(global_width, local_width)
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

    @classmethod
    def from_settings(cls, settings: AdapterSettings, width: int) -> "IDEncoder":
        """Untrained, for a UNet of that cross-attention width."""
        return cls(
            settings.global_width,
            settings.local_width,
            width,
            settings.tokens,
            settings.layers,
            settings.heads,
        )

    def encode(
        self, vectors: Float[Tensor, "B 1 d1"], patches: Float[Tensor, "B L d2"]
    ) -> Float[Tensor, "B N d"]:
        """The learned queries' answers."""
        projected = [self.project_global(vectors), self.project_local(patches)]  # Eq. 8, 9
        keys = torch.cat(projected, dim=1)  # the circled dot of Eq. 10
        return self.decoder(self.queries.expand(len(keys), -1, -1), keys)
