"""The forms of identity tokens that Table 4 compares with the ID-Encoder: linear layers alone."""

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.identity.encoder import IDEncoder
from diffpc.identity.scale import IdentityEncoder
from diffpc.settings import AdapterSettings


class LocalTokens(IdentityEncoder, ModelMixin):
    """pi_2 alone: every patch feature is a token (Eq. 9)."""

    @register_to_config
    def __init__(self, global_width: int, local_width: int, width: int) -> None:
        """Build with random weights.

        Args:
            global_width: d1; the face embedding is not looked at.
            local_width: d2, width of the patch features.
            width: d, the UNet's cross-attention width.
        """
        super().__init__(global_width, local_width)
        self.project_local = nn.Linear(local_width, width)

    @classmethod
    def from_settings(cls, settings: AdapterSettings, width: int) -> "LocalTokens":
        """Untrained, for a UNet of that cross-attention width."""
        return cls(settings.global_width, settings.local_width, width)

    def encode(
        self,
        vectors: Float[Tensor, "B 1 d1"],  # noqa: ARG002 - the call of all forms
        patches: Float[Tensor, "B L d2"],
    ) -> Float[Tensor, "B L d"]:
        """L tokens."""
        return self.project_local(patches)


class GlobalTokens(IdentityEncoder, ModelMixin):
    """pi_1 alone, with N outputs of width d: one vector is N tokens (Eq. 8).

    IP-Adapter makes several tokens of one vector in this way (arXiv 2308.06721; tencent-ailab/IP-Adapter @ 1ae324a,
    Apache-2.0), 4 of them. Here there are as many as the ID-Encoder's, so that the rows of Table 4 differ in what
    the tokens are made of, not in their number; and as in the other rows no layer norm stands behind the layer.
    """

    @register_to_config
    def __init__(self, global_width: int, local_width: int, width: int, tokens: int = 32) -> None:
        """Build with random weights.

        Args:
            global_width: d1, width of the face embedding.
            local_width: d2; the patch features are not looked at.
            width: d, the UNet's cross-attention width.
            tokens: N.
        """
        super().__init__(global_width, local_width)
        self.tokens = tokens
        self.project_global = nn.Linear(global_width, tokens * width)

    @classmethod
    def from_settings(cls, settings: AdapterSettings, width: int) -> "GlobalTokens":
        """Untrained, for a UNet of that cross-attention width."""
        return cls(settings.global_width, settings.local_width, width, settings.tokens)

    def encode(
        self,
        vectors: Float[Tensor, "B 1 d1"],
        patches: Float[Tensor, "B L d2"],  # noqa: ARG002 - the call of all forms
    ) -> Float[Tensor, "B N d"]:
        """N tokens."""
        return self.project_global(vectors).reshape(len(vectors), self.tokens, -1)


class ConcatTokens(IdentityEncoder, ModelMixin):
    """What the ID-Encoder's transformer reads, as tokens: both projections side by side (Eq. 8, 9)."""

    @register_to_config
    def __init__(self, global_width: int, local_width: int, width: int) -> None:
        """Build with random weights.

        Args:
            global_width: d1, width of the face embedding.
            local_width: d2, width of the patch features.
            width: d, the UNet's cross-attention width.
        """
        super().__init__(global_width, local_width)
        self.project_global = nn.Linear(global_width, width)
        self.project_local = nn.Linear(local_width, width)

    @classmethod
    def from_settings(cls, settings: AdapterSettings, width: int) -> "ConcatTokens":
        """Untrained, for a UNet of that cross-attention width."""
        return cls(settings.global_width, settings.local_width, width)

    def encode(
        self, vectors: Float[Tensor, "B 1 d1"], patches: Float[Tensor, "B L d2"]
    ) -> Float[Tensor, "B N d"]:
        """1 + L tokens, the global one first."""
        return torch.cat([self.project_global(vectors), self.project_local(patches)], dim=1)


FORMS: dict[str, type[IdentityEncoder]] = {
    "local": LocalTokens,
    "global": GlobalTokens,
    "concat": ConcatTokens,
    "id_encoder": IDEncoder,
}
"""`AdapterSettings.identity` -> its network: the rows of Table 4."""
