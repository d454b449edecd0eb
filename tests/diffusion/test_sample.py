from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler

from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import build_scheduler, size_conditions
from diffpc.diffusion.constants import ConstantKeysValues
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.decoupled import Decoupled, IDAttention
from diffpc.diffusion.injector import IDInjectors
from diffpc.diffusion.sample import Networks, SampleSettings, denoise, initial_noise
from diffpc.errors import UsageError
from diffpc.presets import sdxl, tiny
from tests.diffusion.conftest import conditions, shaken

SETTINGS = SampleSettings(steps=3, size=(64, 64))


@pytest.fixture(params=["id_ctrl", "ip_adapter"])
def networks(unet, request):
    control, injectors = IDCtrl.from_unet(unet), IDInjectors.from_unet(unet, kernel=1)
    attention = IDAttention.from_unet(unet).eval() if request.param == "ip_adapter" else None
    adapter = Adapter(control.eval(), injectors.eval(), attention)
    return Networks(unet, adapter, build_scheduler(tiny().backbone))


@pytest.fixture
def trained(networks):
    adapter = networks.adapter
    shaken(adapter.control, 0.01)
    for part in (adapter.injectors, adapter.attention):
        if part is not None:
            shaken(part)
    return networks


def noise(batch=1):
    return initial_noise((16, 8, 8), list(range(batch)))


@torch.no_grad()
def base_alone(unet, scheduler, told, latents, steps):
    """Diffusers' own loop, without anything of ours."""
    scheduler = DDIMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(steps)
    added = {
        "text_embeds": told.text.pooled,
        "time_ids": size_conditions(64, 64, len(latents), told.text.pooled),
    }
    for timestep in scheduler.timesteps:
        predicted = unet(latents, timestep, encoder_hidden_states=told.text.tokens, added_cond_kwargs=added)
        latents = scheduler.step(predicted.sample, timestep, latents, eta=0.0).prev_sample
    return latents


def test_an_untrained_adapter_gives_the_bases_image_bit_for_bit(networks):
    told = conditions()
    wanted = base_alone(networks.unet, networks.scheduler, told, noise(), 3)
    assert torch.equal(denoise(networks, told, None, noise(), SETTINGS), wanted)


def test_strength_zero_gives_the_bases_image_bit_for_bit_and_runs_no_control(trained):
    told = conditions()
    wanted = base_alone(trained.unet, trained.scheduler, told, noise(), 3)
    calls = []
    trained.adapter.control.register_forward_hook(lambda *_: calls.append(1))
    off = replace(SETTINGS, strength=0.0)
    assert torch.equal(denoise(trained, told, None, noise(), off), wanted)
    assert calls == []
    assert not torch.allclose(denoise(trained, told, None, noise(), SETTINGS), wanted)
    assert len(calls) == 3


def test_identity_and_face_steer_a_trained_adapter(trained):
    told = conditions()
    base = denoise(trained, told, None, noise(), SETTINGS)
    for other in (replace(told, identity=-told.identity), replace(told, z_3d=-told.z_3d)):
        assert not torch.allclose(denoise(trained, other, None, noise(), SETTINGS), base)


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 2), (3.0, 4)])
def test_guidance_one_runs_one_branch(networks, guidance, rows):
    batches = []
    handle = networks.unet.conv_in.register_forward_hook(lambda _m, args, _o: batches.append(len(args[0])))
    denoise(networks, conditions(2), conditions(2, 9), noise(2), replace(SETTINGS, guidance=guidance))
    handle.remove()
    assert batches == [rows] * 3


def test_guidance_pushes_away_from_the_other_branch(networks):
    told, without, one = conditions(), conditions(seed=9), replace(SETTINGS, steps=1)
    scheduler = networks.scheduler
    plain, empty = (denoise(networks, branch, None, noise(), one) for branch in (told, without))
    guided = denoise(networks, told, without, noise(), replace(one, guidance=3.0))
    # one step of DDIM is linear in the prediction, and so is guidance
    assert torch.allclose(guided, empty + 3 * (plain - empty), atol=1e-4)
    assert scheduler.timesteps.tolist() == [999]


def test_guidance_without_a_second_branch_is_refused(networks):
    with pytest.raises(UsageError, match=r"guidance 3\.0 needs conditions"):
        denoise(networks, conditions(), None, noise(), replace(SETTINGS, guidance=3.0))


def test_progress_sees_every_step_and_ends_at_the_result(networks):
    seen = []
    result = denoise(networks, conditions(), None, noise(), SETTINGS, lambda *step: seen.append(step))
    assert [done for done, _ in seen] == [1, 2, 3]
    assert all(estimate.shape == result.shape for _, estimate in seen)
    assert torch.allclose(seen[-1][1], result, atol=1e-5)  # the last step ends at the clean image


def test_everything_is_as_before_afterwards(trained):
    def stop(done, _estimate):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(trained, conditions(), None, noise(), SETTINGS, stop)
    for module in (*trained.unet.modules(), *trained.adapter.control.modules()):
        assert not isinstance(getattr(module, "processor", None), ConstantKeysValues | Decoupled)
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_the_condition_and_the_keys_are_computed_once(trained):
    calls = {"condition": 0, "keys": 0, "text": 0}

    def counted(name):
        def hook(*_):
            calls[name] += 1

        return hook

    adapter = trained.adapter
    adapter.control.condition_in.register_forward_hook(counted("condition"))
    identity = adapter.attention.to_keys[0] if adapter.attention else attention_of(adapter.control).to_k
    identity.register_forward_hook(counted("keys"))
    handle = attention_of(trained.unet).to_k.register_forward_hook(counted("text"))
    denoise(trained, conditions(), None, noise(), SETTINGS)
    handle.remove()
    assert calls == {"condition": 1, "keys": 1, "text": 1}


def attention_of(network):
    """One of its cross-attentions."""
    return network.mid_block.attentions[0].transformer_blocks[0].attn2


def test_noise_belongs_to_the_seed_alone():
    both = initial_noise((16, 8, 8), [7, 8])
    assert torch.equal(both[1:], initial_noise((16, 8, 8), [8]))
    assert not torch.equal(both[0], both[1])
    assert both.device.type == "cpu"


def test_a_batch_is_its_members(trained):
    told = conditions(2)
    whole = denoise(trained, told, None, noise(2), SETTINGS)
    text = replace(told.text, tokens=told.text.tokens[1:], pooled=told.text.pooled[1:])
    alone = denoise(trained, replace(told, text=text, identity=told.identity[1:], z_3d=told.z_3d[1:]), None,
                    noise(2)[1:], SETTINGS)  # fmt: skip
    assert torch.allclose(whole[1:], alone, atol=1e-4)


def test_latents_stay_float32_whatever_the_networks_type(networks):
    told = conditions()
    wanted = denoise(networks, told, None, noise(), SETTINGS)
    weights = {name: value.clone() for name, value in networks.unet.state_dict().items()}
    adapter = networks.adapter
    for part in (networks.unet, adapter.control, adapter.injectors, adapter.attention):
        if part is not None:
            part.to(torch.bfloat16)
    text = replace(told.text, tokens=told.text.tokens.bfloat16(), pooled=told.text.pooled.bfloat16())
    low_told = replace(told, text=text, identity=told.identity.bfloat16(), z_3d=told.z_3d.bfloat16())
    found = denoise(networks, low_told, None, noise(), SETTINGS)
    networks.unet.to(torch.float32).load_state_dict(weights)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() < 0.05 * wanted.norm()


def test_ddim_trailing_is_lightnings_euler():
    """formats.md, section 5: the same trajectory once the noise has Euler's scale."""
    ddim = build_scheduler(sdxl().backbone)
    euler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    ddim.set_timesteps(8)
    euler.set_timesteps(8)
    assert euler.timesteps.tolist() == ddim.timesteps.tolist() == [999, 874, 749, 624, 499, 374, 249, 124]

    def predicted(latents, timestep):  # any smooth function will do
        return torch.tanh(latents + timestep / 1000)

    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = start * euler.init_noise_sigma
    ours = start * euler.init_noise_sigma / (euler.sigmas[0] ** 2 + 1) ** 0.5
    for timestep, its in zip(ddim.timesteps, euler.timesteps, strict=True):
        scaled = euler.scale_model_input(theirs, its)
        theirs = euler.step(predicted(scaled, its), its, theirs).prev_sample
        ours = ddim.step(predicted(ours, timestep), timestep, ours, eta=0.0).prev_sample
    assert (ours - theirs).abs().max() < 1e-5


@torch.no_grad()
def test_lcm_adds_each_portraits_own_noise(networks):
    """As the library's own loop with one generator per portrait; so a portrait does not depend on its company."""
    told = conditions(2)
    scheduler = LCMScheduler.from_config(networks.scheduler.config)
    lcm = replace(networks, scheduler=scheduler)
    settings = replace(SETTINGS, strength=0.0)
    found = denoise(lcm, told, None, noise(2), replace(settings, seeds=(0, 1)))
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn((1, 16, 8, 8), generator=generator)
    scheduler.set_timesteps(3)
    text = told.text
    added = {
        "text_embeds": text.pooled[1:],
        "time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]], dtype=torch.float32),
    }
    for timestep in scheduler.timesteps:
        predicted = lcm.unet(
            latents, timestep, encoder_hidden_states=text.tokens[1:], added_cond_kwargs=added
        ).sample
        latents = scheduler.step(predicted, timestep, latents, generator=generator).prev_sample
    assert torch.allclose(found[1:], latents, atol=1e-4)
    with pytest.raises(UsageError, match="2 portraits need as many seeds"):
        denoise(lcm, told, None, noise(2), settings)
