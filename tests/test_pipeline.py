from dataclasses import replace

import accelerate
import numpy as np
import pytest
import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin

from diffpc.diffusion.sample import Conditions
from diffpc.errors import UsageError
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, condition, posed, render_condition
from diffpc.face3d.presets import preset
from diffpc.identity.reference import ReferenceFeatures
from diffpc.pipeline import Control, DiffPCPipeline, Identity, PortraitSettings
from diffpc.settings import Framing
from tests.diffusion.conftest import shaken
from tests.pipelines import noisy_skin, random_pipeline

FAST = PortraitSettings(steps=2, seed=5, size=(64, 64))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained_pipeline():
    """A random pipeline whose adapter does something."""
    pipeline = random_pipeline()
    shaken(pipeline.id_injectors, 0.02)
    shaken(pipeline.id_ctrl, 0.01)
    return pipeline


@pytest.fixture(scope="module")
def pipeline():
    return trained_pipeline()


@pytest.fixture(scope="module")
def identity(pipeline):
    generator = torch.Generator().manual_seed(0)
    picture = np.zeros((4, 4, 3), np.uint8)
    vector = torch.nn.functional.normalize(torch.randn(1, 1, 128, generator=generator), dim=-1)
    features = ReferenceFeatures(vector, torch.randn(1, 64, 133, generator=generator), picture, picture)
    model = pipeline.eyes.model
    return Identity(features, posed(model, Angles(0.0, 0.0, 0.0)), noisy_skin(model))


@pytest.fixture(scope="module")
def params(pipeline, identity):
    return condition(identity.params, pose=posed(pipeline.eyes.model, Angles(15.0, 0.0, 0.0)))


@pytest.fixture(scope="module")
def drawn(pipeline, identity, params):
    return pipeline(identity, params, "a woman", FAST)


def image(pipeline, identity, params, settings=FAST, prompt="a woman"):
    """The picture alone."""
    pictures = pipeline(identity, params, prompt, settings).portraits
    return np.stack([portrait.image for portrait in pictures]).squeeze()


def test_a_call_returns_portraits_and_what_each_stage_saw(drawn, identity, params):
    (portrait,) = drawn.portraits
    assert portrait.image.shape == (64, 64, 3) and portrait.image.dtype == np.uint8
    assert (portrait.seed, portrait.prompt, portrait.settings) == (5, "a woman", FAST)
    assert drawn.identity is identity and drawn.control.params is params
    assert list(drawn.seconds) == ["render", "encode", "denoise", "decode", "measure"]
    assert drawn.control.i_3d.shape == (64, 64) and 0 < drawn.control.i_3d.max() <= 1


def test_the_same_seed_draws_the_same_image_and_another_another(pipeline, identity, params, drawn):
    assert np.array_equal(image(pipeline, identity, params), drawn.portraits[0].image)
    assert not np.array_equal(
        image(pipeline, identity, params, replace(FAST, seed=6)), drawn.portraits[0].image
    )


def test_several_portraits_are_those_of_the_single_seeds(pipeline, identity, params, drawn):
    both = pipeline(identity, params, "a woman", replace(FAST, count=2))
    assert [portrait.settings for portrait in both.portraits] == [FAST, replace(FAST, seed=6)]
    alone = image(pipeline, identity, params, replace(FAST, seed=6)).astype(int)
    # a batch adds in another order: at most a step of one level
    assert np.abs(both.portraits[0].image.astype(int) - drawn.portraits[0].image).max() <= 1
    assert np.abs(both.portraits[1].image.astype(int) - alone).max() <= 1


def test_every_input_changes_the_image(pipeline, identity, params, drawn):
    first = drawn.portraits[0].image
    features = replace(identity.features, global_vector=-identity.features.global_vector)
    other = replace(identity, features=features)
    turned = condition(identity.params, pose=posed(pipeline.eyes.model, Angles(-30.0, 0.0, 0.0)))
    assert not np.array_equal(image(pipeline, other, params), first)
    assert not np.array_equal(image(pipeline, identity, turned), first)
    assert not np.array_equal(image(pipeline, identity, params, prompt="a man"), first)
    for change in ({"guidance": 3.0}, {"strength": 0.5}, {"steps": 3}, {"size": (64, 128)}):
        assert not np.array_equal(image(pipeline, identity, params, replace(FAST, **change)), first)


def test_strength_zero_is_the_base_whoever_is_wanted(pipeline, identity, params):
    other = replace(identity, features=replace(identity.features, patches=-identity.features.patches))
    off = replace(FAST, strength=0.0)
    assert np.array_equal(image(pipeline, identity, params, off), image(pipeline, other, params, off))


def test_without_a_size_the_models_own_is_drawn(pipeline, identity, params):
    assert pipeline.default_size == (128, 128)
    assert image(pipeline, identity, params, replace(FAST, size=None, steps=1)).shape == (128, 128, 3)


def test_a_preview_can_be_drawn_at_every_step(pipeline, identity, params, drawn):
    seen = []

    def progress(done, estimate):
        seen.append((done, pipeline.decode(estimate)[0]))

    pipeline(identity, params, "a woman", FAST, progress)
    assert [done for done, _ in seen] == [1, 2]
    assert np.array_equal(seen[-1][1], drawn.portraits[0].image)


def test_shapes_of_the_stages(pipeline, identity, params):
    control = pipeline.place(params, (128, 64))
    assert control.i_3d.shape == (64, 128)
    assert control.view[2] / control.view[3] == pytest.approx(2)
    tokens = pipeline.identity_tokens(identity.features, 3)
    z_3d, z_skin = pipeline.encode_control(control, 3)
    assert z_skin is None
    text = pipeline.encode_prompt("a woman", 3)
    assert tokens.shape == (3, 32, 256) and z_3d.shape == (3, 16, 8, 16)
    assert text.tokens.shape == (3, 32, 256) and text.pooled.shape == (3, 160)
    assert not any(value.requires_grad for value in (tokens, z_3d, text.tokens, text.pooled))
    assert [picture.shape for picture in pipeline.decode(z_3d[:2])] == [(64, 128, 3)] * 2


def test_z_3d_is_the_scaled_mode_of_three_equal_channels(pipeline, params):
    i_3d = torch.linspace(0, 1, 64).expand(64, 64)
    picture = (2 * i_3d - 1)[None, None].repeat(1, 3, 1, 1)
    with torch.no_grad():
        wanted = pipeline.vae.encode(picture).latent_dist.mean * pipeline.vae.config.scaling_factor
    control = Control(params, (0.0, 0.0, 64.0, 64.0), i_3d)
    assert torch.equal(pipeline.encode_control(control, 1)[0], wanted)


def test_skin_is_placed_and_encoded_beside_i_3d(pipeline, identity, params):
    bare, control = (pipeline.place(params, (128, 64), skin=skin) for skin in (None, identity.skin))
    assert bare.i_skin is None and control.i_skin.shape == (64, 128, 3)
    picture = (2 * control.i_skin - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = pipeline.vae.encode(picture).latent_dist.mean * pipeline.vae.config.scaling_factor
    z_3d, z_skin = pipeline.encode_control(control, 2)
    assert torch.allclose(z_skin, wanted.expand(2, -1, -1, -1), atol=1e-4)
    assert torch.allclose(z_3d, pipeline.encode_control(bare, 2)[0], atol=1e-4)


def test_another_skin_is_another_portrait(pipeline, identity, params, drawn):
    other = replace(identity, skin=noisy_skin(pipeline.eyes.model, seed=1))
    assert not np.array_equal(image(pipeline, other, params), drawn.portraits[0].image)
    off = replace(FAST, strength=0.0)
    assert np.array_equal(image(pipeline, other, params, off), image(pipeline, identity, params, off))


def test_a_photo_is_identified(pipeline, astronaut):
    found = pipeline.identify([astronaut, astronaut], names=["a", "b"])
    assert found.features.global_vector.shape == (1, 1, 128)
    assert torch.equal(found.params.shape, pipeline.identify([astronaut]).params.shape)
    with pytest.raises(UsageError, match="no reference photo"):
        pipeline.identify([])


def test_a_saved_pipeline_draws_the_same_image(pipeline, identity, params, drawn, tmp_path):
    pipeline.save_pretrained(tmp_path)
    assert not list(tmp_path.rglob("*.bin"))
    loaded = DiffPCPipeline.from_pretrained(tmp_path, local_files_only=True)
    assert loaded.eyes.settings == pipeline.eyes.settings
    assert type(loaded.id_injectors) is type(pipeline.id_injectors)
    found = image(loaded, identity, params)
    again = DiffPCPipeline.from_pretrained(tmp_path, local_files_only=True)
    assert np.array_equal(image(again, identity, params), found)
    # weights in a mapped file lie at odd addresses, where the products add in another order
    assert np.abs(found.astype(int) - drawn.portraits[0].image).max() <= 1


def test_bfloat16_is_near_float32(identity, params, drawn):
    low = trained_pipeline().to(torch.bfloat16)
    found = image(low, identity, params).astype(int)
    assert np.abs(found - drawn.portraits[0].image).mean() < 6


def test_a_vae_that_overflows_float16_runs_in_float32(pipeline, params):
    low = random_pipeline()
    low.vae.to(torch.float16)
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = []
    low.vae.decoder.conv_in.register_forward_hook(lambda _module, args, _output: seen.append(args[0].dtype))
    low.decode(latents)
    z_3d = low.encode_control(low.place(params, (64, 64)), 1)[0]
    assert seen == [torch.float32]
    assert z_3d.dtype == low.unet.dtype == torch.float32
    assert low.vae.dtype == torch.float16  # as it was


def test_offload_needs_an_accelerator(pipeline):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    for enable in (pipeline.enable_model_cpu_offload, pipeline.enable_sequential_cpu_offload):
        with pytest.raises(RuntimeError, match="requires accelerator"):
            enable()


def test_model_offload_keeps_what_takes_turns(identity, params, drawn):
    """With the CPU as the device the hooks run as on a GPU; only nothing moves."""
    offloaded = trained_pipeline()
    assert set(offloaded.model_cpu_offload_seq.split("->")) <= set(offloaded.components)
    offloaded.enable_model_cpu_offload(device="cpu")
    before = {
        name: getattr(offloaded, name)._hf_hook.prev_module_hook
        for name in ("unet", "id_ctrl", "id_injectors", "vae")
    }
    assert before["id_ctrl"] is None and before["id_injectors"] is None  # they send nobody away
    assert before["unet"] is not None and before["unet"].model is offloaded.id_encoder
    assert before["vae"].model is offloaded.unet
    assert np.array_equal(image(offloaded, identity, params), drawn.portraits[0].image)


def test_offloaded_parts_come_before_they_are_used(identity, params):
    """ID-Ctrl is first called by `embed_condition`, ID-Injectors by their sites; each call must bring them."""
    offloaded = trained_pipeline()
    offloaded.enable_model_cpu_offload(device="cpu")
    brought = []
    for name in ("id_ctrl", "id_injectors"):
        part = getattr(offloaded, name)
        original = part._hf_hook.pre_forward

        def spy(module, *args, name=name, original=original, **kwargs):
            brought.append(name)
            return original(module, *args, **kwargs)

        part._hf_hook.pre_forward = spy
    image(offloaded, identity, params, replace(FAST, steps=1))
    sites = len(offloaded.id_injectors.injectors)
    assert brought == ["id_ctrl", "id_ctrl"] + ["id_injectors"] * sites


def test_sequential_offload_draws_the_same_image(identity, params, drawn, monkeypatch):
    """Weights rest on the meta device between uses: what a hook does not bring would raise."""
    offloaded = trained_pipeline()
    library = accelerate.cpu_offload

    def without_index(model, device, offload_buffers):  # accelerate takes cpu:0 for another device than cpu
        return library(model, torch.device(device.type), offload_buffers=offload_buffers)

    monkeypatch.setattr(accelerate, "cpu_offload", without_index)
    offloaded.enable_sequential_cpu_offload(device="cpu")
    for name in ("unet", "id_ctrl", "id_injectors", "vae", "text_encoder"):
        assert all(parameter.is_meta for parameter in getattr(offloaded, name).parameters()), name
    assert np.array_equal(image(offloaded, identity, params), drawn.portraits[0].image)


def synthetic_lora(pipeline, rank=2):
    """A LoRA in diffusers' layout on one projection of the UNet and one of the first text encoder."""
    generator = torch.Generator().manual_seed(0)
    places = {
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k": pipeline.unet.mid_block.attentions[0]
        .transformer_blocks[0]
        .attn2.to_k,
        "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q": pipeline.unet.mid_block.attentions[0]
        .transformer_blocks[0]
        .attn1.to_q,
    }
    state = {}
    for place, layer in places.items():
        state[f"{place}.lora_A.weight"] = torch.randn(rank, layer.in_features, generator=generator)
        state[f"{place}.lora_B.weight"] = torch.randn(layer.out_features, rank, generator=generator)
    return state


def test_a_lora_changes_the_image_and_unloading_restores_it(identity, params, drawn):
    pytest.importorskip("peft")
    pipeline = trained_pipeline()
    assert isinstance(pipeline, StableDiffusionXLLoraLoaderMixin)
    pipeline.load_lora_weights(synthetic_lora(pipeline))
    with_lora = image(pipeline, identity, params)
    assert not np.array_equal(with_lora, drawn.portraits[0].image)
    pipeline.fuse_lora()
    assert np.abs(image(pipeline, identity, params).astype(int) - with_lora).max() <= 1
    pipeline.unfuse_lora()
    pipeline.unload_lora_weights()
    restored = image(pipeline, identity, params).astype(int)
    assert np.abs(restored - drawn.portraits[0].image).max() <= 1  # unfusing subtracts: not bit for bit


def test_unloading_without_fusing_is_exact(identity, params, drawn):
    pytest.importorskip("peft")
    pipeline = trained_pipeline()
    pipeline.load_lora_weights(synthetic_lora(pipeline))
    pipeline.unload_lora_weights()
    assert np.array_equal(image(pipeline, identity, params), drawn.portraits[0].image)


@pytest.mark.parametrize("size", [(100, 128), (128, 32), (4096, 128), (0, 0)])
def test_unsupported_sizes_are_refused(pipeline, identity, params, size):
    with pytest.raises(UsageError, match="multiples of 64 from 64 to 2048"):
        pipeline(identity, params, "a woman", replace(FAST, size=size))


def test_guidance_runs_against_nobody_who_does_nothing_and_no_prompt(pipeline, identity, params, monkeypatch):
    seen = []

    def denoise(networks, conditions, without, noise, settings, progress):
        seen.append((conditions, without))
        return noise

    monkeypatch.setattr("diffpc.pipeline.denoise", denoise)
    model = pipeline.eyes.model
    laughing = params.with_expression_of(preset("laugh", model))
    pipeline(identity, laughing, "a woman", replace(FAST, guidance=2.0))
    pipeline(identity, laughing, "a woman", FAST)
    wanted, without = seen[0]
    assert isinstance(without, Conditions) and seen[1][1] is None
    view = pipeline.place(laughing, (64, 64)).view
    still = params.with_expression_of(preset("neutral", model))
    still = Control(still, view, render_condition(still, model, 64, 64, view))
    assert torch.equal(without.z_3d, pipeline.encode_control(still, 1)[0])
    assert not torch.equal(without.z_3d, wanted.z_3d)
    assert wanted.z_skin is not None and without.z_skin is None
    assert torch.equal(without.text.tokens, pipeline.encode_prompt("", 1).tokens)
    nobody = replace(
        identity.features,
        global_vector=torch.zeros_like(identity.features.global_vector),
        patches=torch.zeros_like(identity.features.patches),
    )
    assert torch.equal(without.identity, pipeline.identity_tokens(nobody, 1))


def test_no_progress_bar_off_a_terminal(pipeline, capfd):
    with pipeline.progress_bar(total=2) as bar:
        bar.update()
    assert capfd.readouterr().err == ""


def test_a_small_face_is_drawn_again(pipeline, identity, drawn):
    """Only around the face, only if it is asked for or small, and never for the base alone."""
    small = posed(pipeline.eyes.model, Angles(0.0, 0.0, 0.0), Placement(0.5, 0.4, 0.2), (128, 128))
    wanted = condition(identity.params, pose=small)
    settings = replace(FAST, size=(128, 128), steps=1)
    off = pipeline(identity, wanted, "a woman", settings)
    assert off.face is None and "face" not in off.seconds  # the model's framing enlarged the face
    assert off.control.view != (0.0, 0.0, 128.0, 128.0)
    on = pipeline(identity, wanted, "a woman", replace(settings, face_pass="on"))
    assert on.control.view == pytest.approx((0.0, 0.0, 128.0, 128.0)) and "face" in on.seconds
    low, high = on.face.top, on.face.top + on.face.side
    free = replace(pipeline.eyes.settings, framing=Framing())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.eyes, "settings", free)
        once = pipeline(identity, wanted, "a woman", replace(settings, face_pass="off"))
        twice = pipeline(identity, wanted, "a woman", settings)  # auto: the face is small
    changed = (on.portraits[0].image != once.portraits[0].image).any(axis=2)
    assert changed.any() and not changed[:low].any() and not changed[high:].any()
    assert once.face is None and twice.face is not None
    base = pipeline(identity, wanted, "a woman", replace(settings, face_pass="on", strength=0.0))
    assert base.face is None


def test_encode_is_the_inverse_of_decode_as_far_as_the_vae_goes(pipeline):
    picture = np.full((64, 64, 3), 128, np.uint8)
    latents = pipeline.encode([picture, picture])
    assert latents.shape == (2, 16, 8, 8)
    with torch.no_grad():
        pixels = torch.full((1, 3, 64, 64), 128 / 127.5 - 1)
        wanted = pipeline.vae.encode(pixels).latent_dist.mode() * pipeline.vae.config.scaling_factor
    assert torch.allclose(latents[:1], wanted, atol=1e-5)
