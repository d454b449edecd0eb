"""A start for the ID-Encoder: its tokens learn to say what a caption of the person's looks would say.

ID-Ctrl starts as a copy of the UNet's encoder, whose cross-attention understands the text encoders' tokens and
nothing else. From random tokens the diffusion loss hardly finds the way: identity explains a few percent of it,
and the tokens of all persons become the same. This is not in the paper, whose training is 700,000 steps long.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from diffpc.diffusion.backbone import Backbone, encode_token_ids
from diffpc.identity.local import LocalFeatures
from diffpc.identity.scale import IdentityEncoder
from diffpc.train.features import kept_features
from diffpc.train.positions import Samples


@dataclass(frozen=True)
class Reader:
    """The trained part, and the frozen ones that say what it should."""

    id_encoder: IdentityEncoder
    backbone: Backbone
    """With the text encoders."""
    empty: tuple[Int64[Tensor, " T"], Int64[Tensor, " T"]]
    """The empty prompt's tokens and tokens_2: what features that are all zero stand for."""
    local: LocalFeatures | None = None
    """E_local, for samples that hold the photo's crop instead of its patch features."""


class AlignTask:
    """Regression of text tokens from identity features.

    Samples hold, of one photo: vector (1, d1), patches (L, d2) or crop (3, S, S) in [-1, 1], tokens and tokens_2
    (T,), and whether vector and patches are kept: kept_global, kept_local ().
    """

    def __init__(self, reader: Reader, samples: Callable[[int], Samples]) -> None:
        """Put the parts together.

        Args:
            reader: the networks.
            samples: seed -> the sequence of samples.
        """
        self.reader, self.samples = reader, samples

    def modules(self) -> Mapping[str, nn.Module]:
        """The ID-Encoder."""
        return {"id_encoder": self.reader.id_encoder}

    def frozen(self) -> Mapping[str, nn.Module]:
        """The text encoders, and what looks at faces."""
        parts = self.reader.backbone
        encoders: dict[str, nn.Module] = {
            "text_encoder": parts.text_encoder,
            "text_encoder_2": parts.text_encoder_2,
        }
        local = self.reader.local
        return encoders | ({"local": local} if isinstance(local, nn.Module) else {})

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of the tokens, as many as both have."""
        found = self.reader.id_encoder(*kept_features(batch, self.reader.local))
        wanted = self._said(batch)
        count = min(found.shape[1], wanted.shape[1])
        return {"total": (found[:, :count] - wanted[:, :count]).float().square().mean(dim=(1, 2))}

    @torch.no_grad()
    def _said(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The text encoders' tokens of the captions; of nobody, the empty prompt's."""
        somebody = (batch["kept_global"] | batch["kept_local"])[:, None]
        tokens, tokens_2 = (
            torch.where(somebody, batch[name], empty.to(batch[name].device))
            for name, empty in zip(("tokens", "tokens_2"), self.reader.empty, strict=True)
        )
        parts = self.reader.backbone
        return encode_token_ids(tokens, tokens_2, (parts.text_encoder, parts.text_encoder_2)).tokens
