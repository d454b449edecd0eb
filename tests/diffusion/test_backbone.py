import pytest
import torch
from transformers import CLIPVisionModelWithProjection

from diffpc.diffusion.backbone import build, build_scheduler, downscale, encode_text, size_conditions
from diffpc.identity.local import vit_h
from diffpc.presets import sdxl, tiny
from tests.pipelines import byte_tokenizer


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return build(sdxl().backbone)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("unet", 2_567_463_684),
        ("vae", 83_653_863),
        ("text_encoder", 123_060_480),
        ("text_encoder_2", 694_659_840),
    ],
)
def test_sdxl_has_the_published_sizes(full, name, count):
    assert parameters(getattr(full, name)) == count


def test_the_image_encoder_is_vit_h():
    with torch.device("meta"):
        encoder = CLIPVisionModelWithProjection(vit_h())
    assert len(encoder.state_dict()) == 520
    assert parameters(encoder) == 632_076_800


def test_the_schedule_is_lightnings():
    scheduler = build_scheduler(sdxl().backbone)
    scheduler.set_timesteps(8)
    assert scheduler.timesteps.tolist() == [999, 874, 749, 624, 499, 374, 249, 124]
    assert scheduler.config["clip_sample"] is False
    assert scheduler.final_alpha_cumprod == 1


def test_the_vae_takes_eight_pixels_to_one_latent(full):
    assert downscale(full.vae) == 8
    assert full.unet.config["sample_size"] == 128


def test_text_is_both_penultimate_layers_and_the_second_pooled_vector():
    torch.manual_seed(0)
    parts = build(tiny().backbone)
    encoders = (parts.text_encoder.eval(), parts.text_encoder_2.eval())
    tokenizer = byte_tokenizer(1024, 32)
    with torch.no_grad():
        text = encode_text(["a man", "a woman in a red coat" * 9], (tokenizer, tokenizer), encoders)
        ids = tokenizer(["a man"], padding="max_length", return_tensors="pt").input_ids
        first = encoders[0](ids, output_hidden_states=True)
        second = encoders[1](ids, output_hidden_states=True)
    assert text.tokens.shape == (2, 32, 96 + 160)
    assert torch.allclose(text.tokens[0, :, :96], first.hidden_states[-2][0], atol=1e-5)
    assert torch.allclose(text.tokens[0, :, 96:], second.hidden_states[-2][0], atol=1e-5)
    assert torch.allclose(text.pooled[0], second.text_embeds[0], atol=1e-5)


def test_size_conditions_put_height_first():
    found = size_conditions(64, 128, 2, torch.zeros(1, dtype=torch.bfloat16))
    assert found.tolist() == [[64, 128, 0, 0, 64, 128]] * 2
    assert found.dtype == torch.bfloat16
