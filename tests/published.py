"""SDXL's weights in the layouts that others publish, at the bundled model's size.

Names are those of the published files; shapes are the small model's. The original layout is made here by the inverse
of what loaders do, written from the names in `sd_xl_base_1.0.safetensors`: `generative-models` of Stability AI for UNet
and VAE, transformers' CLIP for the first text encoder, OpenCLIP for the second. kohya's LoRAs name a layer with
underscores, in diffusers' words (SDXL-Lightning, LCM-LoRA, Hyper-SD) or in the original ones (trained styles).
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from torch import Tensor, nn

from diffpc.pipeline import DiffPCPipeline

UNET_NAMES = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET_NAMES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OPEN_CLIP_NAMES = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def base_of(pipeline: DiffPCPipeline, folder: Path, variant: str | None = None, shard: str = "10GB") -> Path:
    """A base in diffusers' layout, with SDXL's scheduler: Euler, leading timesteps, noise predicted."""
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet")
    base = StableDiffusionXLPipeline(**{name: getattr(pipeline, name) for name in names}, scheduler=scheduler)
    base.save_pretrained(folder, variant=variant, max_shard_size=shard)
    return folder


def original(pipeline: DiffPCPipeline) -> dict[str, Tensor]:
    """All tensors of a single-file checkpoint."""
    unet = unet_original(pipeline.unet)
    state = {f"model.diffusion_model.{name}": value for name, value in unet.items()}
    state |= {f"first_stage_model.{name}": value for name, value in vae_original(pipeline.vae).items()}
    first = {
        f"text_model.{name.removeprefix('text_model.')}": value
        for name, value in pipeline.text_encoder.state_dict().items()
    }
    first["text_model.embeddings.position_ids"] = torch.arange(pipeline.tokenizer.model_max_length)[None]
    state |= {f"conditioner.embedders.0.transformer.{name}": value for name, value in first.items()}
    second = open_clip(pipeline.text_encoder_2)
    return state | {f"conditioner.embedders.1.model.{name}": value for name, value in second.items()}


def write(state: dict[str, Tensor], path: Path, dtype: torch.dtype | None = None) -> Path:
    """As a safetensors file; tensors may not share memory there."""
    kept = {
        name: value.to(dtype if value.is_floating_point() else None).contiguous()
        for name, value in state.items()
    }
    safetensors.torch.save_file({name: value.clone() for name, value in kept.items()}, path)
    return path


def place_in_original(name: str, layers: int) -> str:
    """A UNet's layer by its original name: three levels, the last without downsampling, attention in the last two.

    Args:
        name: diffusers' name of a layer, or of a tensor.
        layers: resnets per level of the encoder.
    """
    for ours, theirs in UNET_NAMES.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    side, *rest = name.split(".")
    if side == "mid_block":
        kind, number, *rest = rest
        block = "1" if kind == "attentions" else str(2 * int(number))
        return _inside(f"middle_block.{block}", rest)
    level, kind, number, *rest = rest
    down = side == "down_blocks"
    first = 1 + int(level) * (layers + 1) if down else int(level) * (layers + 1)
    if kind == "downsamplers":
        return ".".join([f"input_blocks.{first + layers}.0.op", *rest[1:]])
    if kind == "upsamplers":
        attends = 2 if int(level) < 2 else 1
        return ".".join([f"output_blocks.{first + layers}.{attends}.conv", *rest[1:]])
    part = "input_blocks" if down else "output_blocks"
    return _inside(f"{part}.{first + int(number)}.{int(kind == 'attentions')}", rest)


def unet_original(unet: nn.Module) -> dict[str, Tensor]:
    layers = unet.config["layers_per_block"]
    return {place_in_original(name, layers): value for name, value in unet.state_dict().items()}


def _inside(place: str, rest: list[str]) -> str:
    return ".".join([place, RESNET_NAMES.get(rest[0], rest[0]), *rest[1:]])


def vae_original(vae: nn.Module) -> dict[str, Tensor]:
    levels = len(vae.config["block_out_channels"])
    return {_vae_name(name, levels): _vae_value(name, value) for name, value in vae.state_dict().items()}


def _vae_name(name: str, levels: int) -> str:
    parts = name.split(".")
    if len(parts) < 3 or parts[1] not in ("down_blocks", "up_blocks", "mid_block"):
        return name.replace("conv_norm_out", "norm_out")
    side, block, level, *rest = parts
    if block == "mid_block":
        number, *rest = rest
        kinds = {"resnets": f"block_{int(number) + 1}", "attentions": "attn_1"}
        attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
        rest = [attention.get(one, one) for one in rest if not (level == "attentions" and one == "0")]
        return ".".join([side, "mid", kinds[level], *rest]).replace("conv_shortcut", "nin_shortcut")
    kind, number, *rest = rest
    up = block == "up_blocks"
    level = str(levels - 1 - int(level)) if up else level  # counted from the largest picture
    place = f"{side}.{'up' if up else 'down'}.{level}"
    if kind == "resnets":
        return ".".join([place, "block", number, *rest]).replace("conv_shortcut", "nin_shortcut")
    return ".".join([place, "upsample" if up else "downsample", *rest])


def _vae_value(name: str, value: Tensor) -> Tensor:
    """Attention's products are 1 x 1 convolutions there."""
    is_product = ".attentions." in name and value.ndim == 2
    return value[..., None, None] if is_product else value


def open_clip(encoder: nn.Module) -> dict[str, Tensor]:
    state = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].T,
        "logit_scale": torch.tensor(4.6055),
    }
    for name, value in state.items():
        if not name.startswith("encoder.layers."):
            continue
        _, _, number, *rest = name.split(".")
        place, inside = f"transformer.resblocks.{number}", ".".join(rest)
        if inside.startswith("self_attn.q_proj."):
            kind = rest[-1]
            three = [state[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            found[f"{place}.attn.in_proj_{kind}"] = torch.cat(three)
        elif not inside.startswith(("self_attn.k_proj.", "self_attn.v_proj.")):
            for ours, theirs in OPEN_CLIP_NAMES.items():
                inside = inside.replace(ours, theirs)
            found[f"{place}.{inside}"] = value
    return found


LORA_LAYERS = (
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.1.attentions.0.proj_in",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
    "up_blocks.0.resnets.0.conv1",
)
"""What the small LoRAs below change: a projection, the block's own projection, a feed-forward layer, a convolution."""


def lora(pipeline: DiffPCPipeline, form: str, seed: int = 0, scale: float = 1.0) -> dict[str, Tensor]:
    """A LoRA of rank 2 and alpha 1.

    Args:
        pipeline: whose UNet it is for.
        form: "kohya" (diffusers' words), "kohya-original", "diffusers" or "peft".
        seed: of its numbers.
        scale: they are multiplied by it.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name in LORA_LAYERS:
        layer = pipeline.unet.get_submodule(name)
        down = torch.randn(2, *layer.weight.shape[1:], generator=generator) * scale
        up = torch.randn(len(layer.weight), 2, *[1] * (layer.weight.ndim - 2), generator=generator)
        if form.startswith("kohya"):
            layers = pipeline.unet.config["layers_per_block"]
            words = name if form == "kohya" else place_in_original(name, layers)
            place = f"lora_unet_{words.replace('.', '_')}"
            state |= {f"{place}.lora_down.weight": down, f"{place}.lora_up.weight": up}
            state[f"{place}.alpha"] = torch.tensor(1.0)
        else:
            first, second = {"diffusers": ("lora.down", "lora.up"), "peft": ("lora_A", "lora_B")}[form]
            # No alpha in these forms: half of it, for rank 2 and alpha 1.
            state |= {f"unet.{name}.{first}.weight": down / 2, f"unet.{name}.{second}.weight": up}
    return state


def merged(pipeline: DiffPCPipeline, found: dict[str, Tensor], weight: float = 1.0) -> dict[str, Tensor]:
    """The UNet with a LoRA of the form "peft" added to its weights, by hand."""
    state = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    for name in LORA_LAYERS:
        down, up = found[f"unet.{name}.lora_A.weight"], found[f"unet.{name}.lora_B.weight"]
        change = torch.einsum("or...,ri...->oi...", up, down) if up.ndim == 2 else _convolved(up, down)
        state[f"{name}.weight"] += weight * change
    return state


def _convolved(up: Tensor, down: Tensor) -> Tensor:
    return torch.einsum("or,rikl->oikl", up[..., 0, 0], down)
