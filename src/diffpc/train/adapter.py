"""Training of ID-Encoder, ID-Ctrl and ID-Injectors on a frozen base (Eq. 18 to 21)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from diffpc.diffusion.adapter import Adapter, Condition, Step
from diffpc.diffusion.backbone import Backbone, TextCondition, encode_token_ids
from diffpc.diffusion.injector import Strength
from diffpc.identity.local import LocalFeatures
from diffpc.identity.scale import IdentityEncoder
from diffpc.train.features import kept_features, skin_latents
from diffpc.train.objective import Judge, Objective
from diffpc.train.positions import Samples
from diffpc.train.settings import IdentityLoss


@dataclass(frozen=True)
class Networks:
    """The trained parts, and the frozen ones that see faces."""

    id_encoder: IdentityEncoder
    adapter: Adapter
    """What the identity tokens steer."""
    judge: Judge | None = None
    """For the ID loss; without it there is none."""
    local: LocalFeatures | None = None
    """E_local, for samples that hold the reference's crop instead of its patch features."""


class AdapterTask:
    """Reference and target are two different photos of one person (method.md, point 17).

    Samples hold, for the target: z_0 and z_3d (C, H, W), landmarks (5, 2) in pixels, tokens and tokens_2 (T,);
    for the reference: vector (1, d1), and patches (L, d2) or crop (3, S, S) in [-1, 1]; for the step: noise
    (C, H, W), timestep (), and whether the global vector, the patches and, by a joint training, the adapter are
    kept: kept_global, kept_local, kept_adapter ().

    For an ID-Ctrl that is told skin: i_skin (3, H, W) in [-1, 1], gray where it is unknown, and kept_skin ().
    """

    def __init__(
        self,
        backbone: Backbone,
        networks: Networks,
        samples: Callable[[int], Samples],
        identity: IdentityLoss | None = None,
        joint: bool = False,
        face_weight: float = 1.0,
    ) -> None:
        """Put the parts together.

        Args:
            backbone: the frozen base.
            networks: the trained parts and those of the ID loss.
            samples: seed -> the sequence of samples.
            identity: the ID loss.
            joint: train UNet and text encoders along. The paper's base is finished; one that is trained from
                scratch learns faces sooner where it is told how they stand and whose they are.
            face_weight: how much more an error counts where the samples' face (H, W) is 1.
        """
        self.backbone, self.networks = backbone, networks
        self.samples = samples
        self.identity = identity or IdentityLoss()
        self.joint, self.face_weight = joint, face_weight

    def modules(self) -> Mapping[str, nn.Module]:
        """The adapter; with a joint training also the base."""
        parts = self.networks
        adapter: dict[str, nn.Module] = {
            "id_encoder": parts.id_encoder,
            "id_ctrl": parts.adapter.control,
            "id_injectors": parts.adapter.injectors,
        }
        if parts.adapter.attention is not None:
            adapter["id_attention"] = parts.adapter.attention
        return {**adapter, **self.backbone.networks()} if self.joint else adapter

    def frozen(self) -> Mapping[str, nn.Module]:
        """The base, and what looks at faces."""
        parts = self.networks
        judge = {"decoder": parts.judge.decoder, "embedder": parts.judge.embedder} if parts.judge else {}
        vae = {"vae": self.backbone.vae} if self._told_skin else {}
        used = {**judge, **vae, "local": parts.local}
        used = {name: module for name, module in used.items() if isinstance(module, nn.Module)}
        return used if self.joint else {**self.backbone.networks(), **used}

    @property
    def _told_skin(self) -> bool:
        return bool(self.networks.adapter.control.config["skin"])

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """L_diff, L_id and L_total (Eq. 18, 20, 21)."""
        objective = Objective(self.backbone.scheduler, self.networks.judge, self.identity, self.face_weight)
        return objective.losses(self._predict, batch)

    def _predict(self, z_t: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        parts, timesteps = self.networks, batch["timestep"]
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            encoders = (self.backbone.text_encoder, self.backbone.text_encoder_2)
            text = encode_token_ids(batch["tokens"], batch["tokens_2"], encoders)
        identity = parts.id_encoder(*kept_features(batch, parts.local))
        z_skin = skin_latents(batch, self.backbone.vae) if self._told_skin else None
        condition = parts.adapter.condition(identity, batch["z_3d"].float(), z_skin)
        strength = batch["kept_adapter"].float()[:, None, None, None] if self.joint else 1.0
        step = step_of(self.backbone, text, z_t, timesteps)
        return steered(self.backbone.unet, parts.adapter, step, condition, strength)


def step_of(backbone: Backbone, text: TextCondition, z_t: Tensor, timesteps: Tensor) -> Step:
    """What the UNet is called with."""
    added = backbone.added(text, z_t)
    return Step(z_t.contiguous(memory_format=torch.channels_last), timesteps, text.tokens, added)


def steered(
    unet: UNet2DConditionModel, adapter: Adapter, step: Step, condition: Condition, strength: Strength
) -> Tensor:
    """What the UNet predicts with the adapter, with gradients."""
    with adapter.attached(unet, step, condition, strength):
        return unet(
            step.z_t, step.timesteps, encoder_hidden_states=step.text, added_cond_kwargs=step.added
        ).sample
