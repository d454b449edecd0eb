"""Who draws, on which networks: ours and what users would take else, on the same UNet, VAE and text encoders."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from PIL import Image as PILImage
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from diffpc.bench.parts import EMBEDDERS, LOCAL_FEATURES, awaken
from diffpc.bench.settings import GenerateBench
from diffpc.diffusion.adapter import build_adapter
from diffpc.diffusion.backbone import Backbone, build, downscale
from diffpc.diffusion.sample import SampleSettings, denoise, initial_noise
from diffpc.eyes import Eyes
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import condition, posed
from diffpc.faces.matte import load_matter
from diffpc.files import asset
from diffpc.identity.local import vit_h
from diffpc.identity.reference import ReferenceTools
from diffpc.pipeline import DiffPCPipeline
from diffpc.portrait import Clock, Identity, PortraitSettings
from diffpc.presets import PRESETS, tiny
from diffpc.settings import ModelSettings
from diffpc.types import Image

PROMPT = "a portrait photo, a blue background"

IP_TOKENS = 4
"""Of IP-Adapter's projection of an image (arXiv 2308.06721, section 3.2.1)."""


class BenchEyes(Eyes):
    """What looks at photos: embedder and patch features of the preset's sizes, detector and 3D face as bundled.

    SDXL's own detector, 3D predictor and FLAME are not ours to ship, and a random detector would find nobody.
    """

    def __init__(self, preset: ModelSettings, device: torch.device) -> None:
        bundled = tiny().faces
        super().__init__(replace(bundled, reference_scale=preset.faces.reference_scale), device)
        self._preset = preset

    @cached_property
    def tools(self) -> ReferenceTools:
        """What reads a reference, on the device."""
        faces = self._preset.faces
        with torch.device(self.device):
            embedder, local = EMBEDDERS[faces.embedder](), LOCAL_FEATURES[faces.local_features]()
        for network in (embedder, local):
            nn.Module.to(network, self.device).eval()
        return ReferenceTools(embedder, local, load_matter("none"), faces.reference_scale)


class BenchPipeline(DiffPCPipeline):
    """Ours, with eyes that are given."""

    def look_with(self, eyes: Eyes) -> None:
        """See with these from now on."""
        self._eyes = eyes


@dataclass(frozen=True)
class Subject:
    """What every contender is given: decoded pictures and a prompt."""

    photo: Image
    """The person, RGB."""
    control: Image
    """I_3d on the portrait's canvas, for those that cannot make it."""


@dataclass(frozen=True)
class Parts:
    """The networks that the contenders share."""

    preset: ModelSettings
    backbone: Backbone
    tokenizer: CLIPTokenizer
    pipeline: BenchPipeline
    subject: Subject
    settings: PortraitSettings
    """How to draw; only the seed changes."""
    size: tuple[int, int]
    """Width, height in pixels."""


def build_parts(bench: GenerateBench, photo: Image, device: torch.device, dtype: torch.dtype) -> Parts:
    """Networks with random weights, no zeros among them, on the device.

    The bundled tokenizer stands in for SDXL's, which is not at hand: its ids are valid for both, and cost the same.
    """
    preset = PRESETS[bench.preset]()
    torch.manual_seed(bench.seed)
    with torch.device(device):
        backbone = build(preset.backbone)
        adapter = build_adapter(preset.adapter, backbone.unet)
    networks = [*backbone.networks().values(), backbone.vae, *adapter.values()]
    for network in networks:
        nn.Module.to(awaken(network), device, dtype).eval().requires_grad_(False)
        if device.type == "cuda":
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - in torch's overloads
    length = preset.backbone.text_encoder.length
    tokenizer = CLIPTokenizer.from_pretrained(asset("tiny") / "tokenizer", model_max_length=length)
    shared = _shared(backbone, tokenizer)
    pipeline = BenchPipeline(**shared, **adapter, faces=asdict(tiny().faces))  # pyright: ignore[reportArgumentType] - by name
    pipeline.set_progress_bar_config(disable=True)
    pipeline.look_with(BenchEyes(preset, device))
    size = (bench.size, bench.size) if bench.size else pipeline.default_size
    settings = PortraitSettings(
        bench.steps, bench.guidance, seed=bench.seed, count=bench.count, size=size, face_pass="off"
    )
    identity = pipeline.identify([photo])
    control = pipeline.place(_target(pipeline, identity), size)
    return Parts(preset, backbone, tokenizer, pipeline, Subject(photo, control.picture()), settings, size)


Draw = Callable[[int], dict[str, float]]
"""Seed -> seconds of its stages, where it knows them; the pictures are uint8 on the CPU by then."""


def ours(parts: Parts) -> Draw:
    """As `diffpc generate` draws, its look at the result left out: in what random weights draw nobody is found."""
    pipeline = parts.pipeline

    def draw(seed: int) -> dict[str, float]:
        clock = Clock(device=parts.backbone.unet.device)
        with clock("identify"):
            identity = pipeline.identify([parts.subject.photo])
        return _drawn(parts, identity, seed, clock)

    return draw


def ours_known(parts: Parts, compiled: bool = False) -> Draw:
    """The same of a person who was identified before, as from an identity file."""
    identity, device = parts.pipeline.identify([parts.subject.photo]), parts.backbone.unet.device
    return lambda seed: _drawn(parts, identity, seed, Clock(device=device), compiled)


def ours_compiled(parts: Parts) -> Draw:
    """The same with compiled steps."""
    return ours_known(parts, compiled=True)


def controlnet(parts: Parts, compiled: bool = False) -> Draw:
    """diffusers' SDXL pipeline with a ControlNet on the picture of I_3d: it knows no person."""
    return _theirs(_controlnet_pipeline(parts, parts.backbone, compiled), parts, {})


def controlnet_compiled(parts: Parts) -> Draw:
    """The same with UNet, ControlNet and the VAE's decoder compiled."""
    return controlnet(parts, compiled=True)


def ip_adapter(parts: Parts) -> Draw:
    """And with IP-Adapter for the person, in a UNet of its own, since it stays in it; ViT-H or small as the preset."""
    backbone = replace(parts.backbone, unet=copy.deepcopy(parts.backbone.unet))
    unet: Any = backbone.unet
    pipeline = _controlnet_pipeline(parts, backbone, compiled=False)
    vision = vit_h() if parts.preset.faces.local_features == "clip_vit_h" else _small_vision()
    with torch.device(unet.device):
        encoder = CLIPVisionModelWithProjection(vision).to(unet.dtype).eval().requires_grad_(False)
    side: Any = vision.image_size
    reader = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    pipeline.register_modules(image_encoder=encoder, feature_extractor=reader)
    pipeline.load_ip_adapter(_ip_adapter_weights(unet, int(vision.projection_dim)), None, None)
    person = PILImage.fromarray(parts.subject.photo)
    return _theirs(pipeline, parts, {"ip_adapter_image": person})


CONTENDERS: dict[str, Callable[[Parts], Draw]] = {
    "ours": ours,
    "ours_known": ours_known,
    "ours_compiled": ours_compiled,
    "controlnet": controlnet,
    "controlnet_compiled": controlnet_compiled,
    "ip_adapter": ip_adapter,
}
"""name -> its maker."""


def _target(pipeline: DiffPCPipeline, identity: Identity) -> Any:
    model = pipeline.eyes.model
    return condition(identity.params, identity.params, posed(model, Angles(yaw=25.0)))


def _drawn(
    parts: Parts, identity: Identity, seed: int, clock: Clock, compiled: bool = False
) -> dict[str, float]:
    """Seconds of the stages from the person to the pictures."""
    pipeline, drawn, (width, height) = parts.pipeline, parts.settings, parts.size
    scale = downscale(parts.backbone.vae)
    shape = (parts.preset.backbone.vae.latent_channels, height // scale, width // scale)
    sampling = SampleSettings(drawn.steps, drawn.guidance, drawn.strength, parts.size, compile=compiled)
    with clock("render"):
        control = pipeline.place(_target(pipeline, identity), parts.size, skin=identity.skin)
    with clock("encode"):
        told = pipeline.conditions(identity, control, PROMPT, drawn.count)
        without = pipeline.without(told, identity, control) if drawn.guidance != 1 else None
    with clock("denoise"):
        noise = initial_noise(shape, [seed + number for number in range(drawn.count)])
        latents = denoise(pipeline.networks, told, without, noise.to(told.z_3d.device), sampling)
    with clock("decode"):
        pictures = pipeline.decode(latents)
    assert all(one.dtype == np.uint8 for one in pictures)
    return clock.seconds


def _shared(backbone: Backbone, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    return {
        "vae": backbone.vae,
        "text_encoder": backbone.text_encoder,
        "text_encoder_2": backbone.text_encoder_2,
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "unet": backbone.unet,
        "scheduler": backbone.scheduler,
    }


def _controlnet_pipeline(parts: Parts, backbone: Backbone, compiled: bool) -> Any:
    unet = backbone.unet
    with torch.device(unet.device):
        network: Any = awaken(ControlNetModel.from_unet(unet)).to(unet.dtype).eval().requires_grad_(False)
    if unet.device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    shared = _shared(backbone, parts.tokenizer)
    if compiled:
        network, shared["unet"] = (torch.compile(one, dynamic=False) for one in (network, unet))
        shared["vae"] = copy.copy(backbone.vae)
        shared["vae"].decode = torch.compile(backbone.vae.decode, dynamic=False)
    pipeline = StableDiffusionXLControlNetPipeline(
        **shared, controlnet=network, force_zeros_for_empty_prompt=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _theirs(pipeline: Any, parts: Parts, more: dict[str, Any]) -> Draw:
    settings = parts.settings
    control = PILImage.fromarray(parts.subject.control)
    width, height = parts.size

    def draw(seed: int) -> dict[str, float]:
        found = pipeline(
            PROMPT,
            image=control,
            width=width,
            height=height,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            num_images_per_prompt=settings.count,
            generator=torch.Generator().manual_seed(seed),
            **more,
        )
        assert all(np.asarray(one).dtype == np.uint8 for one in found.images)
        return {}

    return draw


def _small_vision() -> CLIPVisionConfig:
    """Of about the bundled text encoders' size: no such image encoder exists, and dlib's has other work."""
    return CLIPVisionConfig(
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=3,
        num_attention_heads=5,
        image_size=128,
        patch_size=16,
        projection_dim=160,
    )


def _ip_adapter_weights(unet: Any, vision: int) -> dict[str, dict[str, torch.Tensor]]:
    """Random ones in the layout of h94/IP-Adapter's sdxl files: numbered by attention, self-attention counted in."""
    width = int(unet.config["cross_attention_dim"])

    def random(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, device=unet.device, dtype=unet.dtype) * columns**-0.5

    ones, zeros = (torch.full((width,), value, dtype=unet.dtype) for value in (1.0, 0.0))
    projection = {
        "proj.weight": random(IP_TOKENS * width, vision),
        "proj.bias": torch.zeros(IP_TOKENS * width, dtype=unet.dtype),
        "norm.weight": ones,
        "norm.bias": zeros,
    }
    layers: dict[str, torch.Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            layers |= {f"{number}.to_{kind}_ip.weight": random(inner, width) for kind in ("k", "v")}
    return {"image_proj": projection, "ip_adapter": layers}
