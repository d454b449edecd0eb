"""Training of the adapter on a frozen rectified-flow transformer: Eq. 18 to 21 with a velocity for the noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor, nn

from diffpc.diffusion.backbone import TextCondition
from diffpc.diffusion.flow.adapter import FlowAdapter, FlowStep
from diffpc.diffusion.flow.schedule import noise_levels
from diffpc.identity.local import LocalFeatures
from diffpc.identity.scale import IdentityEncoder
from diffpc.train.features import kept_features, skin_latents
from diffpc.train.objective import Judge, Objective
from diffpc.train.positions import Samples
from diffpc.train.settings import IdentityLoss


@dataclass(frozen=True)
class FlowBase:
    """The frozen base."""

    transformer: SD3Transformer2DModel
    scheduler: FlowMatchEulerDiscreteScheduler
    vae: AutoencoderKL | None = None
    """For an ID-Ctrl that is told skin."""


@dataclass(frozen=True)
class FlowParts:
    """The trained parts, and the frozen ones that see faces."""

    id_encoder: IdentityEncoder
    adapter: FlowAdapter
    judge: Judge | None = None
    """For the ID loss; without it there is none."""
    local: LocalFeatures | None = None
    """E_local, for samples that hold the reference's crop instead of its patch features."""


class FlowTask:
    """Reference and target are two different photos of one person (method.md, point 17).

    Samples are those of `diffpc.train.adapter.AdapterTask`, but for the text: text (T, E) and pooled (P,) instead of
    tokens, since SD3's text encoders are too large to run at every step. SD3's density of timesteps is the pairs'
    "logit_normal"; its shift is the scheduler's.
    """

    def __init__(
        self,
        base: FlowBase,
        parts: FlowParts,
        samples: Callable[[int], Samples],
        identity: IdentityLoss | None = None,
        face_weight: float = 1.0,
    ) -> None:
        """Put the parts together.

        Args:
            base: frozen.
            parts: the trained networks and those of the ID loss.
            samples: seed -> the sequence of samples.
            identity: the ID loss.
            face_weight: how much more an error counts where the samples' face (H, W) is 1.

        Raises:
            ValueError: if ID-Ctrl is told skin and there is no VAE to encode it.
        """
        if parts.adapter.control.config["skin"] and base.vae is None:
            raise ValueError("ID-Ctrl is told skin; the base needs its vae to encode it")
        self.base, self.parts, self.samples = base, parts, samples
        self.objective = Objective(base.scheduler, parts.judge, identity or IdentityLoss(), face_weight)

    def modules(self) -> Mapping[str, nn.Module]:
        """The adapter."""
        adapter = self.parts.adapter
        return {
            "id_encoder": self.parts.id_encoder,
            "id_ctrl": adapter.control,
            "id_injectors": adapter.injectors,
        }

    def frozen(self) -> Mapping[str, nn.Module]:
        """The base, and what looks at faces."""
        judge = self.parts.judge
        used = {"transformer": self.base.transformer, "vae": self.base.vae, "local": self.parts.local}
        used |= {"decoder": judge.decoder, "embedder": judge.embedder} if judge else {}
        return {name: module for name, module in used.items() if isinstance(module, nn.Module)}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """L_diff, L_id and L_total (Eq. 18, 20, 21)."""
        return self.objective.losses(self._predict, batch)

    def _predict(self, z_t: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        base, parts = self.base, self.parts
        identity = parts.id_encoder(*kept_features(batch, parts.local))
        z_skin = skin_latents(batch, base.vae) if base.vae is not None else None
        condition = parts.adapter.condition(identity, batch["z_3d"].float(), z_skin)
        levels = noise_levels(batch["timestep"], base.scheduler)
        timesteps = levels * base.scheduler.config["num_train_timesteps"]
        step = FlowStep(z_t, timesteps, TextCondition(batch["text"], batch["pooled"]))
        with parts.adapter.attached(base.transformer, step, condition):
            return step.predict(base.transformer)
