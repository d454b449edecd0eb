"""A start for the ID-Encoder: its tokens learn to say what a caption of the person's looks would say.

ID-Ctrl starts as a copy of the UNet's encoder, whose cross-attention understands the text encoders' tokens and
nothing else. From random tokens the diffusion loss hardly finds the way: identity explains a few percent of it,
and the tokens of all persons become the same. This is not in the paper, whose training is 700,000 steps long.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from diffpc.identity.encoder import IDEncoder
from diffpc.train.positions import Drawn


@dataclass(frozen=True)
class AlignData:
    """Features and caption of every reference photo (R)."""

    vectors: Float[Tensor, "R 1 d1"]
    """F_global, L2-normalised."""
    patches: Float[Tensor, "R L d2"]
    """F_local."""
    caption: Int[Tensor, " R"]
    """Row of the caption of each photo."""
    tokens: Float[Tensor, "K N d"]
    """The text encoders' tokens of the captions, the empty prompt's first."""


class AlignTask:
    """Regression of text tokens from identity features; features all zero stand for the empty prompt."""

    def __init__(self, id_encoder: IDEncoder, data: AlignData, drop: float = 0.05) -> None:
        self.id_encoder = id_encoder
        self.data = data
        self.drop = drop
        """Probability of the global vector, of the patches, and of both to be dropped."""

    def modules(self) -> Mapping[str, nn.Module]:
        """The ID-Encoder."""
        return {"id_encoder": self.id_encoder}

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing: the text tokens are given."""
        return {}

    def samples(self, seed: int) -> Drawn:
        """Features of one photo, some of them dropped, and the tokens to say."""
        return Drawn(seed, self._draw, lambda sample: f"photo {int(sample['photo'])}")

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of the tokens."""
        tokens = self.id_encoder(batch["vector"], batch["patches"])
        return {"total": (tokens - batch["tokens"]).float().square().mean(dim=(1, 2))}

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        data = self.data
        photo = torch.randint(len(data.caption), (), generator=generator)
        kept_global, kept_local, somebody = (torch.rand(3, generator=generator) >= self.drop).unbind()
        return {
            "photo": photo,
            "vector": data.vectors[photo].float() * (kept_global & somebody),
            "patches": data.patches[photo].float() * (kept_local & somebody),
            "tokens": data.tokens[torch.where(somebody, data.caption[photo], 0)],
        }
