"""A whole model with random weights at the bundled model's size, for tests of everything that runs one."""

import json
from copy import deepcopy
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.torch
import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from diffpc.diffusion.adapter import build_adapter
from diffpc.diffusion.backbone import Backbone, build
from diffpc.face3d.light import LightFaceModel
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import photo_points, posed
from diffpc.face3d.skin import Skin
from diffpc.pipeline import DiffPCPipeline
from diffpc.presets import tiny
from diffpc.settings import AdapterSettings


def random_pipeline(seed: int = 0, adapter: AdapterSettings | None = None) -> DiffPCPipeline:
    """The layout of `presets.tiny()`, with another adapter if one is given; the same seed gives the same weights."""
    settings = tiny()
    base, parts = deepcopy(_networks(seed, adapter or settings.adapter))
    tokenizer = byte_tokenizer(
        settings.backbone.text_encoder.vocabulary, settings.backbone.text_encoder.length
    )
    return DiffPCPipeline(
        base.vae.eval(),
        base.text_encoder.eval(),
        base.text_encoder_2.eval(),
        tokenizer,
        tokenizer,
        base.unet.eval(),
        base.scheduler,
        **{name: part.eval() for name, part in parts.items()},
        faces=asdict(settings.faces),
    )


@cache
def _networks(seed: int, adapter: AdapterSettings) -> tuple[Backbone, dict[str, torch.nn.Module]]:
    """To be copied: that takes half the time of drawing their weights again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = build(tiny().backbone)
        return base, build_adapter(adapter, base.unet)


def byte_tokenizer(vocabulary: int, length: int) -> CLIPTokenizer:
    """CLIP's format without merges: single bytes, bytes that end a word, fillers, then the two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = alphabet + [f"{byte}</w>" for byte in alphabet]
    pieces += [f"<|unused{number}|>" for number in range(vocabulary - 2 - len(pieces))]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    with TemporaryDirectory() as folder:
        words, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        words.write_text(
            json.dumps({piece: number for number, piece in enumerate(pieces)}, ensure_ascii=False)
        )
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(vocab=str(words), merges=str(merges), model_max_length=length)


LAYERS = {
    "unet": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "text_encoder": "encoder.layers.0.self_attn.q_proj",
}
"""A projection of each network, for `write_lora`."""


def write_lora(pipeline: DiffPCPipeline, path: Path, seed: int = 0, part: str = "unet") -> Path:
    """A LoRA of rank 2 on one projection, in the library's own format."""
    name = LAYERS[part]
    layer = getattr(pipeline, part).get_submodule(name)
    generator = torch.Generator().manual_seed(seed)
    state = {
        f"{part}.{name}.lora_A.weight": torch.randn(2, layer.in_features, generator=generator),
        f"{part}.{name}.lora_B.weight": torch.randn(layer.out_features, 2, generator=generator),
    }
    safetensors.torch.save_file(state, path)
    return path


def noisy_skin(model: LightFaceModel, seed: int = 0) -> Skin:
    """Random colours on all of a face."""
    noise = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    params = posed(model, Angles(), frame=(32, 32))
    return Skin(noise, torch.from_numpy(photo_points(params, model)).float(), torch.ones(len(model.mean)))
