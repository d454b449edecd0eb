"""Training by what is drawn: the model draws as its users will, and frozen networks say whether that obeys.

Photos show no person in another one's pose with another one's glasses, so the diffusion loss never teaches what such
a wish should look like. Here the model denoises wishes (`diffpc.train.wishes`) with its own sampler, and its estimate
of the clean latents is graded at two of the steps:

- by a critic (`diffpc.train.critic`): is what prompt and target ask for to be seen? Rewards for diffusion models:
  ImageReward (arXiv 2304.05977), AlignProp (2310.03739), ControlNet++ (2404.07987).
- by the face embedder: is it the person (Eq. 20)?
- by a discriminator: might it be a photo of somebody with such looks? It learns along, on the features of the critic,
  which looks at noised latents, as in latent adversarial diffusion distillation (2403.12015); photos of other looks
  are refused too, as in GAN-CLS (1605.05396).
- by a teacher, the model as it was: does it stray? With guidance the teacher draws in two branches what one learns
  to draw (2210.03142).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.diffusion import ddim
from diffpc.diffusion.adapter import Adapter, Condition
from diffpc.diffusion.backbone import Backbone, TextCondition, encode_token_ids
from diffpc.diffusion.sample import guided
from diffpc.identity.scale import IdentityEncoder
from diffpc.train import loss
from diffpc.train.adapter import Networks, steered, step_of
from diffpc.train.adversary import LevelDiscriminator, believed, told_apart
from diffpc.train.critic import Critic, phrase_loss
from diffpc.train.features import latents_of, patch_features
from diffpc.train.objective import identity_terms
from diffpc.train.positions import Samples
from diffpc.train.settings import IdentityLoss, ObeySettings


@dataclass(frozen=True)
class Told:
    """What a model is told of some portraits, as its networks have it."""

    text: TextCondition
    condition: Condition
    strength: Float[Tensor, "B 1 1 1"]

    def twice(self) -> Told:
        """The same of the portraits, and of the portraits again."""
        text = TextCondition(_twice(self.text.tokens), _twice(self.text.pooled))
        condition = Condition(_twice(self.condition.identity), _twice(self.condition.embedded))
        return Told(text, condition, _twice(self.strength))


@dataclass(frozen=True)
class Painter:
    """A model's networks: what is in training, or the teacher."""

    backbone: Backbone
    id_encoder: IdentityEncoder
    adapter: Adapter

    def frozen_copy(self) -> Painter:
        """The same networks as they are now, for good."""
        backbone = replace(
            self.backbone,
            **{name: copy.deepcopy(part) for name, part in self.backbone.networks().items()},
        )
        adapter = Adapter(copy.deepcopy(self.adapter.control), copy.deepcopy(self.adapter.injectors))
        return Painter(backbone, copy.deepcopy(self.id_encoder), adapter)

    def parts(self) -> dict[str, nn.Module]:
        """All networks but the autoencoder, by the names of the pipeline's components."""
        adapter = {"id_ctrl": self.adapter.control, "id_injectors": self.adapter.injectors}
        return {"id_encoder": self.id_encoder, **adapter, **self.backbone.networks()}

    def told(
        self, batch: Mapping[str, Tensor], pictures: tuple[Tensor, Tensor], features: tuple[Tensor, Tensor]
    ) -> Told:
        """Through text encoders and ID-Encoder.

        Args:
            batch: tokens, tokens_2 and kept_adapter.
            pictures: z_3d and z_skin.
            features: F_global and F_local.
        """
        encoders = (self.backbone.text_encoder, self.backbone.text_encoder_2)
        text = encode_token_ids(batch["tokens"], batch["tokens_2"], encoders)
        condition = self.adapter.condition(self.id_encoder(*features), *pictures)
        return Told(text, condition, batch["kept_adapter"].float()[:, None, None, None])

    def predict(self, told: Told, z_t: Tensor, timesteps: Tensor) -> Tensor:
        """What the UNet says of noisy latents."""
        step = step_of(self.backbone, told.text, z_t, timesteps)
        return steered(self.backbone.unet, self.adapter, step, told.condition, told.strength).float()


class ObeyTask:
    """Wishes, drawn and graded; samples are those of `diffpc.train.wishes.WishDataset`."""

    def __init__(
        self,
        backbone: Backbone,
        networks: Networks,
        critic: Critic,
        nobody: tuple[Tensor, Tensor],
        samples: Callable[[int], Samples],
        settings: tuple[ObeySettings, IdentityLoss],
    ) -> None:
        """Put the parts together; the teacher is the model as it is now.

        Args:
            backbone: the base; it learns too.
            networks: the adapter, and what looks at faces; without a judge nobody asks whose they are.
            critic: a finished one.
            nobody: tokens of the empty prompt, of both vocabularies.
            samples: seed -> the sequence of samples.
            settings: how to grade.
        """
        self.painter = Painter(backbone, networks.id_encoder, networks.adapter)
        self.teacher = self.painter.frozen_copy()
        self.critic, self.judge, self.local = critic.eval(), networks.judge, networks.local
        width = critic.settings.width
        self.discriminator = LevelDiscriminator((width, 2 * width, 3 * width), critic.settings.phrases)
        self.nobody, self.samples = nobody, samples
        self.settings, self.identity = settings

    def modules(self) -> Mapping[str, nn.Module]:
        """Adapter, base and discriminator."""
        return {**self.painter.parts(), "discriminator": self.discriminator}

    def frozen(self) -> Mapping[str, nn.Module]:
        """The teacher, and all that grade."""
        seen: dict[str, Any] = {
            "teacher": nn.ModuleDict(self.teacher.parts()),
            "vae": self.painter.backbone.vae,
            "critic": self.critic,
            "embedder": self.judge.embedder if self.judge else None,
            "local": self.local,
        }
        return {name: part for name, part in seen.items() if isinstance(part, nn.Module)}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the teacher, the critic, the embedder and the discriminator say, and their sum."""
        vae = self.painter.backbone.vae
        pictures = (latents_of(batch["i_3d"], vae).float(), latents_of(batch["i_skin"], vae).float())
        features = (batch["vector"].float(), patch_features(batch, self.local))
        told = self.painter.told(batch, pictures, features)
        z_t, timesteps = self._walked(told, batch)
        prediction = self.painter.predict(told.twice(), z_t, timesteps)
        wanted = self._taught(batch, pictures, features, z_t, timesteps)
        clean = loss.clean_estimate(prediction, z_t, timesteps, self.painter.backbone.scheduler)
        twice = {name: _twice(value) for name, value in batch.items()} | {"timestep": timesteps}
        graded = self._graded(clean, twice)
        if self.judge and self.identity.weight:
            found = identity_terms(clean, twice, self.judge, self.identity)
            graded["identity"] = twice["kept_adapter"] * found
        sure = self._sureness(timesteps)
        terms = {"teacher": loss.diffusion_loss(prediction, wanted)}
        terms |= {name: term if name == "discriminator" else sure * term for name, term in graded.items()}
        terms = {name: term.view(2, -1).mean(0) for name, term in terms.items()}
        weights = {**self.settings.weights, "identity": self.identity.weight}
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum(0)
        return {**terms, "total": total}

    @torch.no_grad()
    def _walked(self, told: Told, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Latents (2 B) at two steps of each portrait's way from noise, and the timesteps."""
        scheduler, steps = self.painter.backbone.scheduler, self.settings.steps
        z_t, half = batch["noise"].float(), steps // 2
        first = (batch["turn"] * half).long()
        kept: list[Tensor] = []
        timesteps: list[Tensor] = []
        for moment in ddim.moments(scheduler, steps, z_t.device):
            kept.append(z_t)
            timesteps.append(moment.timestep)
            predicted = self.painter.predict(told, z_t, moment.timestep.expand(len(z_t)))
            z_t, _ = ddim.advanced(scheduler.config["prediction_type"], moment, predicted, z_t)
        torch.clear_autocast_cache()  # what was cast here knows no gradient
        way, rows = torch.stack(kept), torch.arange(len(first), device=first.device)
        found = torch.cat([way[first, rows], way[first + half, rows]])
        return found, torch.stack(timesteps)[torch.cat([first, first + half])]

    @torch.no_grad()
    def _taught(
        self,
        batch: Mapping[str, Tensor],
        pictures: tuple[Tensor, Tensor],
        features: tuple[Tensor, Tensor],
        z_t: Tensor,
        timesteps: Tensor,
    ) -> Tensor:
        """What the teacher predicts with guidance."""
        told = self.teacher.told(batch, pictures, features).twice()
        wanted, guidance = self.teacher.predict(told, z_t, timesteps), self.settings.guidance
        if guidance == 1:
            torch.clear_autocast_cache()
            return wanted
        tokens = [one.to(z_t.device).expand(len(batch["tokens"]), -1) for one in self.nobody]
        silent = {**batch, "tokens": tokens[0], "tokens_2": tokens[1]}
        none = (torch.zeros_like(features[0]), torch.zeros_like(features[1]))
        without = self.teacher.told(silent, (pictures[0], torch.zeros_like(pictures[1])), none).twice()
        unwanted = self.teacher.predict(without, z_t, timesteps)
        torch.clear_autocast_cache()
        return guided(torch.cat([wanted, unwanted]), 2, guidance)

    def _sureness(self, timesteps: Tensor) -> Float[Tensor, " B"]:
        """How much a grade counts at a step: as much more as less of the prediction is left in the clean estimate.

        Otherwise the last steps, where what is fine is drawn, would hardly be taught.
        """
        abar = self.painter.backbone.scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
        return 1 / (1 - abar).sqrt().clamp(min=0.2)

    def _graded(self, clean: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By the critic and, on its features, by the discriminator."""
        scheduler, moment = self.painter.backbone.scheduler, batch["critic_timestep"]
        drawn = self.critic(loss.noised(clean, batch["critic_noise"], moment, scheduler), moment)
        with torch.no_grad():
            photo = self.critic(
                loss.noised(batch["z_0"].float(), batch["critic_noise"], moment, scheduler), moment
            )
        told, asked = batch["kept_adapter"], (batch["weights"] == 1).float()
        # The base alone knows the prompt only, and nothing of the person.
        weights = torch.where(told[:, None], batch["weights"], asked)
        looks = torch.where(told[:, None], batch["looks"], batch["looks"] * asked)
        # What the prompt says is to be seen beyond doubt: a critic of photos is content with a hint of grey.
        margin = self.settings.margin * (2 * batch["phrases"] - 1) * asked
        phrases = phrase_loss(drawn.phrases - margin, batch["phrases"], self.critic.share) * weights
        values = (drawn.values - self.critic.standardised(batch["values"])).square() * batch["importance"]
        return {
            "phrases": phrases.sum(1) / weights.sum(1).clamp(min=1),
            "values": told * values.mean(1),
            "realism": -believed(self.discriminator, (drawn.features, looks)),
            "discriminator": told_apart(
                self.discriminator,
                (photo.features, batch["photo_looks"]),
                (tuple(one.detach() for one in drawn.features), looks),
                (photo.features, looks),
            ),
        }


def _twice(value: Tensor) -> Tensor:
    """All rows, and all rows again; of any type, which `torch.cat` is not under autocast."""
    return value.repeat(2, *[1] * (value.ndim - 1))
