"""SDXL's real sizes on the CPU: one denoising step with random weights, never held in float32."""

import resource
import sys
import time

import pytest
import torch

from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import TextCondition, build_scheduler, build_unet, build_vae
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.injector import IDInjectors
from diffpc.diffusion.sample import Conditions, Networks, SampleSettings, denoise, initial_noise
from diffpc.presets import sdxl

GIB = 2**20
"""In KiB, the unit of ru_maxrss."""


def materialised(module, seed, dtype=torch.bfloat16):
    """The module with random weights, each layer's outputs of about unit size.

    Channels last: without it a processor that lacks bfloat16 convolves 16 times slower.
    """
    pool = torch.randn(1_000_003, generator=torch.Generator().manual_seed(seed))
    torch.nn.Module.to(module, dtype=dtype).to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                values = (pool * parameter[0].numel() ** -0.5).to(dtype)
                repeats = -(-parameter.numel() // len(pool))
                parameter.copy_(values.repeat(repeats)[: parameter.numel()].view_as(parameter))
            else:
                parameter.fill_(float(name.endswith("weight")))
    return module.to(memory_format=torch.channels_last).eval().requires_grad_(False)


@pytest.mark.full_size
def test_one_step_at_full_size_in_bfloat16(capsys):
    settings = sdxl()
    with torch.device("meta"):
        unet, vae = build_unet(settings.backbone), build_vae(settings.backbone)
        control, injectors = IDCtrl.from_unet(unet), IDInjectors.from_unet(unet)
    unet, control, injectors = (
        materialised(module, seed) for seed, module in enumerate((unet, control, injectors))
    )
    vae = materialised(vae, 3, torch.float32)  # for speed; it is small
    generator = torch.Generator().manual_seed(9)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.bfloat16)

    started = time.perf_counter()
    with torch.no_grad():
        z_3d = vae.encode(random(1, 3, 256, 256).float()).latent_dist.mode() * vae.config["scaling_factor"]
    text = TextCondition(random(1, 77, 2048), random(1, 1280))
    conditions = Conditions(text, random(1, 32, 2048), z_3d.bfloat16())
    networks = Networks(unet, Adapter(control, injectors), build_scheduler(settings.backbone))
    sampling = SampleSettings(steps=1, size=(256, 256))
    encoded = time.perf_counter()
    latents = denoise(networks, conditions, None, initial_noise((4, 32, 32), [0]), sampling)
    denoised = time.perf_counter()
    with torch.no_grad():
        picture = vae.decode(latents / vae.config["scaling_factor"]).sample
    decoded = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    with capsys.disabled():
        sys.stdout.write(
            f"encode {encoded - started:.1f} s, step {denoised - encoded:.1f} s, "
            f"decode {decoded - denoised:.1f} s, peak memory {peak:.1f} GiB\n"
        )
    assert picture.shape == (1, 3, 256, 256)
    assert latents.isfinite().all() and picture.isfinite().all()
    assert peak < 14
