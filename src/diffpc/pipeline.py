"""Reference + target + prompt -> portrait (Eq. 4): one named method per stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import TextCondition, downscale, encode_text, in_range, scaled, unscaled
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.decoupled import IDAttention
from diffpc.diffusion.injector import IDInjectors
from diffpc.diffusion.sample import (
    Conditions,
    Networks,
    Progress,
    SampleSettings,
    Scheduler,
    denoise,
    initial_noise,
    renoised,
)
from diffpc.distilled import Schedule, check_steps
from diffpc.eyes import Eyes
from diffpc.face3d.predict import render_condition
from diffpc.face3d.presets import preset
from diffpc.face3d.skin import Skin, dressed
from diffpc.face_pass import (
    Region,
    blended,
    cut_region,
    face_box,
    is_small,
    region_of,
    skipped_steps,
    soft_mask,
)
from diffpc.framing import View, framed
from diffpc.identity.reference import ReferenceFeatures
from diffpc.identity.scale import IdentityEncoder
from diffpc.person import described
from diffpc.portrait import (
    Clock,
    Control,
    Identity,
    Portrait,
    PortraitSet,
    PortraitSettings,
    check_settings,
)
from diffpc.settings import FaceSettings, Framing, from_dict
from diffpc.tensors import to_image, to_tensor
from diffpc.types import Face, FaceParams, Image


class DiffPCPipeline(DiffusionPipeline, StableDiffusionXLLoraLoaderMixin):
    """The whole system. Saving, loading, offload, devices and progress bars are diffusers' own.

    Model offload: what is named in the sequence goes when its successor comes. ID-Ctrl and ID-Injectors take
    turns with the UNet at every step, so they are not named: they come once and stay until the image is done.
    Sequential offload: torch's MultiheadAttention reads weights that no hook brings, so the small ID-Encoder
    stays on the device.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->id_encoder->id_attention->unet->vae"
    _optional_components: ClassVar[list[str]] = ["id_attention"]
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["id_encoder"]

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        id_encoder: IdentityEncoder,
        id_ctrl: IDCtrl,
        id_injectors: IDInjectors,
        id_attention: IDAttention | None = None,
        faces: dict[str, Any] | None = None,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            vae: to `scheduler`: SDXL's components under the library's names.
            text_encoder: first text encoder.
            text_encoder_2: second text encoder, with projection.
            tokenizer: of the first text encoder.
            tokenizer_2: of the second.
            unet: the frozen UNet.
            scheduler: DDIM, trailing; or LCM, for weights that were distilled for it.
            id_encoder: to `id_attention`: the adapter; the form of identity tokens.
            id_ctrl: copy of the UNet's encoder.
            id_injectors: modulation of the UNet's decoder.
            id_attention: where the UNet itself attends to identity tokens.
            faces: fields of `settings.FaceSettings`: which back ends see faces.
            defaults: fields of `PortraitSettings` that suit this model better than the general defaults.
        """
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            scheduler=scheduler,
            id_encoder=id_encoder,
            id_ctrl=id_ctrl,
            id_injectors=id_injectors,
            id_attention=id_attention,
        )
        self.register_to_config(faces=faces or {}, defaults=defaults or {})
        self.set_progress_bar_config(disable=None)  # None: only on a terminal
        self._eyes: Eyes | None = None
        self.schedule: Schedule | None = None
        """What the weights are distilled for; None: for nothing."""

    @property
    def eyes(self) -> Eyes:
        """The frozen parts that look at photos, loaded when first used."""
        if self._eyes is None:
            settings = from_dict(FaceSettings, dict(self.config["faces"]), "faces")
            self._eyes = Eyes(settings, self._execution_device)
        return self._eyes

    def identify(
        self, photos: Sequence[Image], face: int | None = None, names: Sequence[str] = ()
    ) -> Identity:
        """One or several photos of a person -> identity.

        Args:
            photos: upright RGB.
            face: which face counts, 0 the largest; None if one stands out.
            names: of the photos, for error messages.
        """
        labels = list(names) or [f"reference {number}" for number in range(1, len(photos) + 1)]
        return self.describe(
            photos, [self.eyes.face(photo, face, label) for photo, label in zip(photos, labels, strict=True)]
        )

    def describe(self, photos: Sequence[Image], chosen: Sequence[Face]) -> Identity:
        """As `identify`, of faces that were found before, one per photo.

        Raises:
            UsageError: if there is no photo.
        """
        return described(photos, chosen, self.eyes)

    def place(
        self, params: FaceParams, size: tuple[int, int], free: bool = False, skin: Skin | None = None
    ) -> Control:
        """3D face on the target's frame -> I_3d on a canvas of `size` (width, height).

        Args:
            params: the face.
            size: of the canvas.
            free: leave the face where it is, even where the model has seen none.
            skin: the person's, for models that are told it.
        """
        view = framed(params, self.eyes.model, size, Framing() if free else self.eyes.settings.framing)
        return self._rendered(params, view, size, skin)

    def _rendered(self, params: FaceParams, view: View, size: tuple[int, int], skin: Skin | None) -> Control:
        (width, height), model = size, self.eyes.model
        i_3d = render_condition(params, model, height, width, view)
        if skin is None or not self.id_ctrl.config["skin"]:
            return Control(params, view, i_3d)
        return Control(params, view, i_3d, dressed(skin, params, model, height, width, view))

    @torch.no_grad()
    def identity_tokens(self, features: ReferenceFeatures, batch: int) -> Float[Tensor, "B N D"]:
        """F'_id of Eq. 8 to 11, repeated for a batch."""
        dtype, device = self.id_encoder.dtype, self._execution_device
        tokens = self.id_encoder(features.global_vector.to(device, dtype), features.patches.to(device, dtype))
        return tokens.expand(batch, -1, -1)

    @torch.no_grad()
    def encode_control(
        self, control: Control, batch: int
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"] | None]:
        """z_3d and z_skin: posterior modes, scaled (method.md, point 2); I_3d in three equal channels."""
        pictures = [control.i_3d.expand(3, -1, -1)]
        if control.i_skin is not None:
            pictures.append(control.i_skin.permute(2, 0, 1))
        with in_range(self.vae):
            pixels = (2 * torch.stack(pictures) - 1).to(self._execution_device, self.vae.dtype)
            found = scaled(self.vae.encode(pixels).latent_dist.mode(), self.vae)
        z_3d, *z_skin = (one.expand(batch, -1, -1, -1) for one in found.to(self.unet.dtype))
        return z_3d, z_skin[0] if z_skin else None

    @torch.no_grad()
    def encode_prompt(self, prompt: str, batch: int) -> TextCondition:
        """The prompt through both text encoders, repeated for a batch."""
        text = encode_text(
            [prompt],
            (self.tokenizer, self.tokenizer_2),
            (self.text_encoder, self.text_encoder_2),
            self._execution_device,
        )
        return TextCondition(text.tokens.expand(batch, -1, -1), text.pooled.expand(batch, -1))

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> list[Image]:
        """Latents, the final ones or a preview's, -> pictures."""
        with in_range(self.vae):
            given = unscaled(latents, self.vae).to(self._execution_device, self.vae.dtype)
            return [to_image(one) for one in self.vae.decode(given).sample]

    @torch.no_grad()
    def encode(self, images: Sequence[Image]) -> Float[Tensor, "B C h w"]:
        """Pictures of one size -> latents: the inverse of `decode`."""
        with in_range(self.vae):
            pixels = torch.stack([to_tensor(one) for one in images]).to(
                self._execution_device, self.vae.dtype
            )
            return scaled(self.vae.encode(pixels).latent_dist.mode(), self.vae)

    @torch.no_grad()
    def __call__(
        self,
        identity: Identity,
        params: FaceParams,
        prompt: str,
        settings: PortraitSettings | None = None,
        progress: Progress | None = None,
    ) -> PortraitSet:
        """Draw portraits.

        Args:
            identity: from `identify`.
            params: pose and expression with the person's shape, from `face3d.predict.condition`.
            prompt: everything that is not the face.
            settings: steps, seeds, size ...
            progress: called after each step of the first pass, with the steps done and the clean latents' estimate.

        Raises:
            UsageError: if a setting is out of range.
        """
        settings = settings or PortraitSettings()
        self.check(settings)
        clock = Clock(device=self._execution_device)
        size = settings.size or self.default_size
        with clock("render"):
            control = self.place(params, size, settings.face_pass == "on", identity.skin)
        with clock("encode"):
            conditions = self.conditions(identity, control, prompt, settings.count)
            without = self.without(conditions, identity, control) if settings.guidance != 1 else None
        with clock("denoise"):
            sampling = settings.sampling(size)
            latents = self._denoise(conditions, without, self.noise(sampling), sampling, progress)
        with clock("decode"):
            images = self.decode(latents)
        face = self.face_region(control, settings)
        if face is not None:
            with clock("face"):
                images = self.redrawn(images, face, identity.skin, control, (conditions, without), settings)
        with clock("measure"):
            seeds = [settings.seed + number for number in range(settings.count)]
            portraits = tuple(
                Portrait(
                    image,
                    seed,
                    prompt,
                    replace(settings, seed=seed, count=1, size=size),
                    self.eyes.compare(image, identity.features, control),
                )
                for image, seed in zip(images, seeds, strict=True)
            )
        self.maybe_free_model_hooks()
        return PortraitSet(portraits, identity, control, clock.seconds, face)

    def check(self, settings: PortraitSettings) -> None:
        """Refuse settings that this model cannot draw with.

        Raises:
            UsageError: naming the value and what is expected.
        """
        check_settings(settings, self.default_size)
        if self.schedule:
            check_steps(self.schedule, settings.steps, settings.guidance)

    @property
    def networks(self) -> Networks:
        """What runs at every step."""
        adapter = Adapter(self.id_ctrl, self.id_injectors, self.id_attention)
        return Networks(self.unet, adapter, self.scheduler)

    @property
    def default_size(self) -> tuple[int, int]:
        """Width, height the model was trained on."""
        side = int(self.unet.config["sample_size"]) * downscale(self.vae)
        return side, side

    def conditions(self, identity: Identity, control: Control, prompt: str, count: int) -> Conditions:
        """What steers `count` portraits of one person."""
        return Conditions(
            self.encode_prompt(prompt, count),
            self.identity_tokens(identity.features, count),
            *self.encode_control(control, count),
        )

    def without(self, conditions: Conditions, identity: Identity, *controls: Control) -> Conditions:
        """Guidance pushes away from: no prompt, nobody in particular, a face that stands there and does nothing.

        Args:
            conditions: of the portraits.
            identity: anybody's, for the features' shapes.
            controls: of each portrait, or one for all.
        """
        features, count = identity.features, len(conditions.identity)
        zeros = [torch.zeros_like(one) for one in (features.global_vector, features.patches)]
        nobody = replace(features, global_vector=zeros[0], patches=zeros[1])
        z_3d = torch.cat([self._encode_still(one, count // len(controls)) for one in controls])
        return Conditions(self.encode_prompt("", count), self.identity_tokens(nobody, count), z_3d)

    def _encode_still(self, control: Control, batch: int) -> Float[Tensor, "B C h w"]:
        """z_3d of the same face with no expression."""
        params = control.params.with_expression_of(preset("neutral", self.eyes.model))
        return self.encode_control(self._rendered(params, control.view, control.size, None), batch)[0]

    def face_region(self, control: Control, settings: PortraitSettings) -> Region | None:
        """The face's surroundings, if they are to be drawn again: never for the base model alone."""
        if settings.face_pass == "off" or not settings.strength:
            return None
        box = face_box(control.params, self.eyes.model, control.view, control.size)
        if settings.face_pass == "auto" and not is_small(box, control.size, min(self.default_size)):
            return None
        return region_of(box, control.view, control.size, self.eyes.settings.framing)

    def redrawn(
        self,
        images: Sequence[Image],
        region: Region,
        skin: Skin | None,
        control: Control,
        branches: tuple[Conditions, Conditions | None],
        settings: PortraitSettings,
    ) -> list[Image]:
        """The second pass: the face's region at the model's own size, noised again in part, by the same 3D face.

        Args:
            images: of the first pass.
            region: from `face_region`.
            skin: the person's.
            control: of the first pass.
            branches: its conditions, with and without the person.
            settings: as for the first pass; its seeds are the pictures'.
        """
        size = (min(self.default_size), min(self.default_size))
        closer = self._rendered(control.params, region.view, size, skin)
        z_3d, z_skin = self.encode_control(closer, len(images))
        skipped = skipped_steps(settings.steps)
        sampling = settings.sampling(size, skipped)
        clean = self.encode([cut_region(one, region, size[0]) for one in images])
        noise = renoised(self.scheduler, clean, self.noise(sampling), sampling)
        conditions, without = branches
        conditions = replace(conditions, z_3d=z_3d, z_skin=z_skin)
        without = without and replace(without, z_3d=self._encode_still(closer, len(images)))
        latents = self._denoise(conditions, without, noise, sampling, None)
        mask = soft_mask(closer.i_3d.cpu().numpy())
        drawn = self.decode(latents)
        return [blended(one, face, mask, region) for one, face in zip(images, drawn, strict=True)]

    def noise(self, sampling: SampleSettings) -> Float[Tensor, "B C h w"]:
        """What the portraits of these seeds and this size begin with."""
        (width, height), scale = sampling.size, downscale(self.vae)
        shape = (int(self.unet.config["in_channels"]), height // scale, width // scale)
        return initial_noise(shape, list(sampling.seeds)).to(self._execution_device)

    def _denoise(
        self,
        conditions: Conditions,
        without: Conditions | None,
        noise: Float[Tensor, "B C h w"],
        sampling: SampleSettings,
        progress: Progress | None,
    ) -> Tensor:
        progress_bar: Any = self.progress_bar  # Any: declared as a partial of itself
        with progress_bar(total=sampling.steps - sampling.skipped) as bar:

            def advance(done: int, estimate: Tensor) -> None:
                bar.update()
                if progress is not None:
                    progress(done, estimate)

            return denoise(self.networks, conditions, without, noise, sampling, advance)
