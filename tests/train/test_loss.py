import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffpc.diffusion.backbone import build_scheduler
from diffpc.presets import sdxl, tiny
from diffpc.train.loss import clean_estimate, diffusion_loss, identity_loss, noised, target


@pytest.fixture(params=[sdxl, tiny], ids=["epsilon", "v_prediction"])
def scheduler(request):
    return build_scheduler(request.param().backbone)


def batch():
    generator = torch.Generator().manual_seed(0)
    z_0, noise = torch.randn(2, 3, 4, 2, 2, generator=generator)
    return z_0, noise, torch.tensor([10, 400, 900])


def test_noised_is_equation_1(scheduler):
    z_0, noise, timesteps = batch()
    z_t = noised(z_0, noise, timesteps, scheduler)
    for row, timestep in enumerate(timesteps.tolist()):
        abar = float(scheduler.alphas_cumprod[timestep])
        wanted = abar**0.5 * z_0[row] + (1 - abar) ** 0.5 * noise[row]
        assert torch.allclose(z_t[row], wanted, atol=1e-6)
    assert torch.allclose(z_t, scheduler.add_noise(z_0, noise, timesteps), atol=1e-6)


def test_targets_are_the_librarys(scheduler):
    z_0, noise, timesteps = batch()
    wanted = {
        "epsilon": noise,
        "v_prediction": scheduler.get_velocity(z_0, noise, timesteps),
    }[scheduler.config["prediction_type"]]
    assert torch.allclose(target(z_0, noise, timesteps, scheduler), wanted, atol=1e-6)


def test_the_clean_estimate_inverts_a_perfect_prediction(scheduler):
    z_0, noise, timesteps = batch()
    z_t = noised(z_0, noise, timesteps, scheduler)
    prediction = target(z_0, noise, timesteps, scheduler)
    assert torch.allclose(clean_estimate(prediction, z_t, timesteps, scheduler), z_0, atol=1e-4)


def test_the_clean_estimate_is_what_the_scheduler_thinks(scheduler):
    z_0, noise, timesteps = batch()
    scheduler.set_timesteps(8)
    one = timesteps[1:2]
    found = clean_estimate(noise[1:2], z_0[1:2], one, scheduler)
    step = scheduler.step(noise[1:2], int(one), z_0[1:2])
    assert torch.allclose(found, step.pred_original_sample, atol=1e-5)


def test_a_rectified_flow_by_hand():
    """Shift 3: the share 0.5 of timestep 499 is t = 0.75, the last one's is 1."""
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    z_0, noise = torch.tensor([2.0, -1.0]).view(2, 1, 1, 1), torch.tensor([-2.0, 3.0]).view(2, 1, 1, 1)
    timesteps = torch.tensor([499, 999])
    z_t = noised(z_0, noise, timesteps, flow)
    assert z_t.flatten().tolist() == pytest.approx([0.25 * 2 + 0.75 * -2, 3.0])
    velocity = target(z_0, noise, timesteps, flow)
    assert velocity.flatten().tolist() == [-4.0, 4.0]
    assert clean_estimate(velocity, z_t, timesteps, flow).flatten().tolist() == pytest.approx([2.0, -1.0])
    off = clean_estimate(velocity + 1, z_t, timesteps, flow)
    assert off.flatten().tolist() == pytest.approx([2.0 - 0.75, -1.0 - 1.0])
    assert diffusion_loss(velocity + 2, velocity).tolist() == [4.0, 4.0]


def test_a_rectified_flow_is_noised_as_the_library_does():
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    z_0, noise, timesteps = batch()
    wanted = flow.scale_noise(z_0, flow.timesteps.flip(0)[timesteps], noise)
    assert torch.allclose(noised(z_0, noise, timesteps, flow), wanted, atol=1e-6)
    found = clean_estimate(target(z_0, noise, timesteps, flow), wanted, timesteps, flow)
    assert torch.allclose(found, z_0, atol=1e-5)


def test_at_zero_terminal_snr_v_is_minus_the_image():
    z_0, noise, _ = batch()
    last = torch.full((3,), 999)
    scheduler = build_scheduler(tiny().backbone)
    assert torch.allclose(noised(z_0, noise, last, scheduler), noise)
    assert torch.allclose(target(z_0, noise, last, scheduler), -z_0)


def test_the_diffusion_loss_is_the_mean_square():
    prediction = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    wanted = torch.tensor([1.0, 0.0, 3.0, 1.0]).view(1, 1, 2, 2)
    wanted = torch.cat([wanted, wanted + 1])
    assert diffusion_loss(prediction, wanted).tolist() == [(4 + 9) / 4, (1 + 1 + 1 + 4) / 4]
    assert diffusion_loss(prediction.bfloat16(), wanted.bfloat16()).dtype == torch.float32


def test_the_identity_loss_is_equation_20():
    generated = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])
    reference = torch.tensor([[1.0, 0.0]] * 4)
    cosines = [1.0, 0.0, 0.5**0.5, -1.0]
    everyone = identity_loss(generated, reference, torch.ones(4))
    assert everyone.tolist() == pytest.approx([1 - one for one in cosines], abs=1e-6)
    gated = identity_loss(generated, reference, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert gated.tolist() == pytest.approx([0, 1, 0, 0])


def test_gradients_pass_only_where_a_face_was_found():
    generated = torch.tensor([[1.0, 2.0], [1.0, 2.0]], requires_grad=True)
    found = torch.tensor([1.0, 0.0], requires_grad=True)
    identity_loss(generated, torch.tensor([[1.0, 0.0]] * 2), found).sum().backward()
    assert generated.grad[0].abs().sum() > 0
    assert generated.grad[1].abs().sum() == 0
    assert found.grad is None
    assert generated.grad[0, 0] < 0 < generated.grad[0, 1]  # more of what the reference has


def test_the_gradient_of_the_clean_estimate_reaches_the_prediction(scheduler):
    z_0, noise, timesteps = batch()
    noise.requires_grad_()
    clean_estimate(noise, z_0, timesteps, scheduler).sum().backward()
    assert (noise.grad < 0).all()


def test_a_weight_counts_places():
    prediction, wanted = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    weight = torch.tensor([[[3.0, 1.0]]])
    assert diffusion_loss(prediction, wanted, weight).tolist() == [(3 * 5 + 1 * 2) / 4]
    assert diffusion_loss(prediction, wanted, 7 * weight).tolist() == [(3 * 5 + 1 * 2) / 4]
