"""IP-Adapter-FaceID-PlusV2 with a ControlNet through diffusers, on small random weights of the published layout."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from diffpc.diffusion import backbone
from diffpc.evaluate.baselines.process import PROGRAMS
from diffpc.presets import tiny
from tests.pipelines import byte_tokenizer

WIDTH, PATCHES = 256, 64
"""Of the text tokens, and of the image encoder's hidden states."""

SETTINGS = {"size": [64, 64], "steps": 2, "guidance": 3.0}


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(PROGRAMS))
    spec = importlib.util.spec_from_file_location("faceid_plus_v2", PROGRAMS / "faceid_plus_v2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PROGRAMS))


def rand(*shape):
    return torch.randn(*shape) * 0.05


def projection(inner=WIDTH):
    """Keys of ip-adapter-faceid-plusv2's image_proj: MLP on the face vector, perceiver on the patches."""
    found = {"proj.0.weight": rand(1024, 512), "proj.0.bias": rand(1024)}
    found |= {"proj.2.weight": rand(4 * inner, 1024), "proj.2.bias": rand(4 * inner)}
    found |= {"norm.weight": torch.ones(inner), "norm.bias": torch.zeros(inner)}
    place = "perceiver_resampler"
    found |= {f"{place}.proj_in.weight": rand(inner, PATCHES), f"{place}.proj_in.bias": rand(inner)}
    found |= {f"{place}.proj_out.weight": rand(WIDTH, inner), f"{place}.proj_out.bias": rand(WIDTH)}
    found |= {f"{place}.norm_out.weight": torch.ones(WIDTH), f"{place}.norm_out.bias": torch.zeros(WIDTH)}
    for number in range(4):
        layer = f"{place}.layers.{number}"
        for norm in ("0.norm1", "0.norm2", "1.0"):
            found |= {f"{layer}.{norm}.weight": torch.ones(inner), f"{layer}.{norm}.bias": torch.zeros(inner)}
        found |= {
            f"{layer}.0.to_q.weight": rand(inner, inner),
            f"{layer}.0.to_kv.weight": rand(2 * inner, inner),
        }
        found |= {f"{layer}.0.to_out.weight": rand(inner, inner)}
        found |= {
            f"{layer}.1.1.weight": rand(4 * inner, inner),
            f"{layer}.1.3.weight": rand(inner, 4 * inner),
        }
    return found


def attention(unet, rank=4):
    """Keys of its ip_adapter: a LoRA for every attention, keys and values of the face for those on the text."""
    found = {}
    for number, (name, processor) in enumerate(unet.attn_processors.items()):
        module = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("q", "k", "v", "out"):
            layer = module.to_out[0] if part == "out" else getattr(module, f"to_{part}")
            found[f"{number}.to_{part}_lora.down.weight"] = rand(rank, layer.in_features)
            found[f"{number}.to_{part}_lora.up.weight"] = rand(layer.out_features, rank)
        if name.endswith("attn2.processor"):
            for part in ("k", "v"):
                found[f"{number}.to_{part}_ip.weight"] = rand(module.to_k.out_features, WIDTH)
        assert processor is not None
    return found


@pytest.fixture(scope="module")
def pipe(program):
    torch.manual_seed(0)
    settings = tiny().backbone
    parts = backbone.build(settings)
    tokenizer = byte_tokenizer(settings.text_encoder.vocabulary, settings.text_encoder.length)
    base = StableDiffusionXLPipeline(
        parts.vae, parts.text_encoder, parts.text_encoder_2, tokenizer, tokenizer, parts.unet, parts.scheduler
    )
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=PATCHES,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=56,
            image_size=224,
            projection_dim=32,
        )
    ).eval()
    weights = {"image_proj": projection(), "ip_adapter": attention(parts.unet)}
    control = ControlNetModel.from_unet(parts.unet)
    for layer in (control.controlnet_mid_block, control.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.3)  # untrained they would add nothing
    return program.build(base, control, encoder, weights, "cpu")


def drawn(program, pipe, face=0, crop=90, pose=200, **changes):
    vector = torch.nn.functional.normalize(
        torch.randn(512, generator=torch.Generator().manual_seed(face)), dim=0
    )
    cut, skeleton = (Image.fromarray(np.full((224, 224, 3), value, np.uint8)) for value in (crop, pose))
    picture = program.draw(
        pipe, vector, cut, skeleton, {"prompt": "a hat", "seed": 3}, {**SETTINGS, **changes}
    )
    return np.asarray(picture).astype(int)


def test_it_draws_the_size_and_the_same_again(program, pipe):
    one = drawn(program, pipe)
    assert one.shape == (64, 64, 3)
    assert np.array_equal(one, drawn(program, pipe))
    assert pipe.scheduler.config["timestep_spacing"] == "trailing"


@pytest.mark.parametrize("change", [{"face": 1}, {"crop": 10}, {"pose": 10}, {"guidance": 1.0}])
def test_face_crop_pose_and_guidance_matter(program, pipe, change):
    assert np.abs(drawn(program, pipe) - drawn(program, pipe, **change)).max() > 0
