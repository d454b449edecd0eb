"""Training of ID-Encoder, ID-Ctrl and ID-Injectors on a frozen base (Eq. 18 to 21)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from diffpc.diffusion.backbone import Backbone, downscale, encode_token_ids, size_conditions
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.injector import IDInjectors, attached
from diffpc.faces.embed import FaceEmbedder
from diffpc.identity.encoder import IDEncoder
from diffpc.train import loss
from diffpc.train.base import drawn_captions
from diffpc.types import LandmarkLayout


@dataclass(frozen=True)
class AdapterData:
    """What is constant per target crop (N) and per reference photo (R)."""

    latents: Float[Tensor, "N C H W"]
    """Of the target crops, times the scaling factor."""
    z_3d: Float[Tensor, "N C H W"]
    """Latents of the targets' I_3d."""
    captions: Int[Tensor, "N K T"]
    """Token ids."""
    landmarks: Float[Tensor, "N 5 2"]
    """Of the targets, in pixels of the crop."""
    photo: Int[Tensor, " N"]
    """The photo (row of the reference tensors) that each crop was cut from."""
    person: Int[Tensor, " R"]
    """Who is on each photo; photos of one person stand together."""
    vectors: Float[Tensor, "R 1 d1"]
    """F_global, L2-normalised."""
    patches: Float[Tensor, "R L d2"]
    """F_local."""
    empty: Int[Tensor, " T"]
    """Token ids of the empty prompt."""


@dataclass(frozen=True)
class AdapterTraining:
    """Choices of Sec. 4.5 and the places where the paper leaves some."""

    text_drop: float = 0.05
    global_drop: float = 0.05
    local_drop: float = 0.05
    identity_drop: float = 0.05
    """Both at once, so that guidance has a "nobody" to push away from; 0 in the paper."""
    identity_weight: float = 0.1
    """lambda of Eq. 21; 0 leaves the ID loss out."""
    identity_until: int = 400
    """Largest timestep at which z0_hat is a face and the ID loss applies."""
    identity_images: int = 4
    """Images per batch that are decoded for the ID loss."""


@dataclass(frozen=True)
class Networks:
    """The trained parts, and the frozen ones that carry the ID loss."""

    id_encoder: IDEncoder
    id_ctrl: IDCtrl
    id_injectors: IDInjectors
    decoder: AutoencoderKL
    """Decodes z0_hat: the VAE itself, or a smaller one."""
    embedder: FaceEmbedder
    """E_global."""
    layout: LandmarkLayout
    """Of the landmarks in the data."""


class AdapterTask:
    """Reference and target are always two different photos of one person (method.md, point 17)."""

    def __init__(
        self, backbone: Backbone, networks: Networks, data: AdapterData, settings: AdapterTraining
    ) -> None:
        self.backbone = backbone
        self.networks = networks
        self.data = data
        self.settings = settings
        self.first, self.count = _runs(data.person)
        frozen = (backbone.unet, backbone.text_encoder, backbone.text_encoder_2, networks.decoder)
        for module in frozen:
            module.requires_grad_(False)

    def modules(self) -> Mapping[str, nn.Module]:
        """The adapter; everything else is frozen."""
        parts = self.networks
        return {
            "id_encoder": parts.id_encoder,
            "id_ctrl": parts.id_ctrl,
            "id_injectors": parts.id_injectors,
        }

    def losses(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """L_diff, L_id and L_total (Eq. 18, 20, 21) of one batch."""
        index = torch.randint(len(self.data.latents), (batch,), generator=generator)
        reference = self._references(self.data.photo[index], generator)
        z_0 = self.data.latents[index].float()
        noise = torch.randn(z_0.shape, generator=generator)
        timesteps = torch.randint(1000, (batch,), generator=generator)
        z_t = loss.noised(z_0, noise, timesteps, self.backbone.scheduler)
        prediction = self._predict(z_t, timesteps, index, reference, generator)
        wanted = loss.target(z_0, noise, timesteps, self.backbone.scheduler)
        terms = {"diffusion": loss.diffusion_loss(prediction, wanted)}
        terms["total"] = terms["diffusion"]
        if self.settings.identity_weight:
            clean = loss.clean_estimate(prediction, z_t, timesteps, self.backbone.scheduler)
            terms["identity"] = self._identity_loss(clean, timesteps, index, reference)
            terms["total"] = terms["total"] + self.settings.identity_weight * terms["identity"]
        return terms

    def _references(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """For each photo another one of the same person."""
        person = self.data.person[photos]
        first, count = self.first[person], self.count[person]
        step = 1 + (torch.rand(len(photos), generator=generator) * (count - 1)).long()
        return first + (photos - first + step) % count

    def _predict(
        self, z_t: Tensor, timesteps: Tensor, index: Tensor, reference: Tensor, generator: torch.Generator
    ) -> Tensor:
        parts, unet = self.networks, self.backbone.unet
        tokens = drawn_captions(
            self.data.captions[index], self.data.empty, self.settings.text_drop, generator
        )
        with torch.no_grad():
            text = encode_token_ids(
                tokens, tokens, (self.backbone.text_encoder, self.backbone.text_encoder_2)
            )
        side = downscale(self.backbone.vae) * z_t.shape[-1]
        added = {"text_embeds": text.pooled, "time_ids": size_conditions(side, side, len(z_t), z_t)}
        z_t = z_t.contiguous(memory_format=torch.channels_last)
        identity = parts.id_encoder(*self._features(reference, generator))
        condition = parts.id_ctrl.embed_condition(self.data.z_3d[index].float())
        c_id = parts.id_ctrl(z_t, timesteps, identity, condition, added)
        with attached(unet, parts.id_injectors, c_id):
            return unet(z_t, timesteps, encoder_hidden_states=text.tokens, added_cond_kwargs=added).sample

    def _features(self, reference: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """F_global and F_local with some of them zeroed."""
        settings, batch = self.settings, len(reference)
        draws = torch.rand(3, batch, generator=generator)
        nobody = draws[2] < settings.identity_drop
        no_global = (draws[0] < settings.global_drop) | nobody
        no_local = (draws[1] < settings.local_drop) | nobody
        vectors = self.data.vectors[reference].float() * (~no_global)[:, None, None]
        patches = self.data.patches[reference].float() * (~no_local)[:, None, None]
        return vectors, patches

    def _identity_loss(self, clean: Tensor, timesteps: Tensor, index: Tensor, reference: Tensor) -> Tensor:
        """Eq. 20 on the first few images that are clean enough; the gradient runs through decoder and embedder."""
        usable: Bool[Tensor, " B"] = timesteps <= self.settings.identity_until
        chosen = usable.nonzero().flatten()[: self.settings.identity_images]
        if len(chosen) == 0:
            return clean.sum() * 0.0
        decoder = self.networks.decoder
        pictures = decoder.decode(clean[chosen] / decoder.config["scaling_factor"], return_dict=False)[0]
        landmarks = self.data.landmarks[index[chosen]]
        vectors = self.networks.embedder.embed(pictures, landmarks, self.networks.layout)
        found = torch.ones(len(chosen), device=clean.device)
        return loss.identity_loss(vectors, self.data.vectors[reference[chosen], 0].float(), found)


def _runs(person: Tensor) -> tuple[Tensor, Tensor]:
    """First row and number of rows of each person, by the person's number."""
    count = torch.bincount(person)
    return torch.cumsum(count, 0) - count, count
