from dataclasses import replace

import pytest
import torch

from diffpc.diffusion.backbone import build_scheduler
from diffpc.diffusion.ddim import PREDICTIONS, Moment, advanced, moments
from diffpc.errors import UsageError
from diffpc.presets import sdxl, tiny

CPU = torch.device("cpu")


def random(seed):
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 3, 8, 30])
@pytest.mark.parametrize("size", [tiny, sdxl])
def test_the_numbers_are_the_librarys_bit_for_bit(size, steps):
    scheduler = build_scheduler(size().backbone)
    kind = scheduler.config["prediction_type"]
    found, latents = moments(scheduler, steps, CPU), random(0)
    assert [int(moment.timestep) for moment in found] == scheduler.timesteps.tolist()
    for number, moment in enumerate(found):
        predicted = random(number + 1)
        wanted = scheduler.step(predicted, scheduler.timesteps[number], latents, eta=0.0)
        latents, clean = advanced(kind, moment, predicted, latents)
        assert torch.equal(latents, wanted.prev_sample)
        assert torch.equal(clean, wanted.pred_original_sample)


def test_a_perfect_prediction_leads_from_noise_to_the_picture():
    """z_t = alpha z + beta e; told e, or v = alpha e - beta z, a step goes to the next mixture of the same two."""
    roots = torch.tensor([0.6, 0.8, 0.8, 0.6])
    picture, noise = random(0), random(1)
    told = {"epsilon": noise, "v_prediction": 0.6 * noise - 0.8 * picture}
    for kind in PREDICTIONS:
        moment = Moment(torch.tensor(500), roots)
        following, clean = advanced(kind, moment, told[kind], 0.6 * picture + 0.8 * noise)
        assert torch.allclose(clean, picture, atol=1e-5)
        assert torch.allclose(following, 0.8 * picture + 0.6 * noise, atol=1e-5)


def test_another_prediction_is_refused():
    settings = replace(tiny().backbone, prediction_type="v_prediction")
    moment = moments(build_scheduler(settings), 1, CPU)[0]
    with pytest.raises(UsageError, match="predicts 'sample', expected one of: epsilon, v_prediction"):
        advanced("sample", moment, random(0), random(1))
