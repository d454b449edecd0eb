import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from diffpc.errors import InputError, UsageError
from diffpc.identity.local import (
    CLIP_MEAN,
    CLIP_STD,
    LocalFeatures,
    load_clip_features,
    load_dlib_features,
    load_local_features,
)


@pytest.fixture(scope="module")
def dlib():
    return load_dlib_features()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, patch_size=14,
        image_size=56, projection_dim=8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModelWithProjection(config).eval().save_pretrained(folder)
    return folder


def crops(side, batch=2):
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_names_are_listed():
    with pytest.raises(UsageError, match="clip_vit_h, dlib"):
        load_local_features("dino")


def test_dlib_patches_are_64_of_width_133(dlib):
    assert isinstance(dlib, LocalFeatures)
    assert (dlib.resolution, dlib.width) == (150, 133)
    found = dlib(crops(150))
    assert found.shape == (2, 64, 133)
    assert torch.equal(
        found[:, :, :128].transpose(1, 2).view(2, 128, 8, 8), dlib.network.features(crops(150))[2]
    )


def test_the_colour_channels_are_the_patchs_mean_colour(dlib):
    colour = torch.tensor([0.25, -0.5, 1.0])
    found = dlib(colour.view(1, 3, 1, 1).expand(1, 3, 150, 150))
    assert torch.allclose(found[0, :, 128:131], colour.expand(64, 3), atol=1e-5)


def test_half_red_half_blue(dlib):
    crop = torch.full((1, 3, 150, 150), -1.0)
    crop[:, 0, :, :75] = 1
    crop[:, 2, :, 75:] = 1
    colour = dlib(crop)[0, :, 128:131].view(8, 8, 3)
    assert torch.allclose(colour[:, 0], torch.tensor([1.0, -1.0, -1.0]).expand(8, 3))
    assert torch.allclose(colour[:, 7], torch.tensor([-1.0, -1.0, 1.0]).expand(8, 3))


def test_places_run_from_the_upper_left_to_the_lower_right(dlib):
    place = dlib(crops(150, 1))[0, :, 131:]
    assert place[0].tolist() == [-1, -1]  # x, y
    assert place[7].tolist() == [1, -1]
    assert place[56].tolist() == [-1, 1]
    assert place[63].tolist() == [1, 1]
    assert place[1, 0].item() == pytest.approx(-1 + 2 / 7)


def test_clip_patches_are_the_penultimate_layer_of_normalised_crops(clip_folder):
    local = load_clip_features(clip_folder)
    assert isinstance(local, LocalFeatures)
    assert (local.resolution, local.width) == (56, 16)
    pixels = (crops(56) + 1) / 2
    normalised = (pixels - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    reference = CLIPVisionModelWithProjection.from_pretrained(clip_folder)
    with torch.no_grad():
        wanted = reference(normalised, output_hidden_states=True).hidden_states
    assert len(wanted) == 4
    found = local(crops(56))
    assert found.shape == (2, 1 + 16, 16)
    assert torch.allclose(found, wanted[-2], atol=1e-5)
    assert not any(parameter.requires_grad for parameter in local.parameters())


def test_a_missing_or_damaged_encoder_is_an_input_error(clip_folder, tmp_path):
    with pytest.raises(InputError, match="no image encoder in"):
        load_clip_features(tmp_path)
    (tmp_path / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    with pytest.raises(InputError, match="no whole CLIP image encoder"):
        load_clip_features(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((clip_folder / "model.safetensors").read_bytes()[:500])
    with pytest.raises(InputError, match="no whole CLIP image encoder"):
        load_clip_features(tmp_path)
