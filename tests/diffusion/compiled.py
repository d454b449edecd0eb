"""Networks for steps; run as a program, portraits by compiled steps, whose graphs are counted."""

import json
import sys
from dataclasses import replace

import torch

from diffpc.diffusion import sample
from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import build_scheduler
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.decoupled import IDAttention
from diffpc.diffusion.injector import IDInjectors
from diffpc.diffusion.sample import Networks, SampleSettings, denoise, initial_noise
from diffpc.presets import tiny
from tests.diffusion.conftest import conditions, shaken
from tests.pipelines import random_pipeline

SETTINGS = SampleSettings(steps=2, size=(64, 64))


def networks(form="residual"):
    """Nothing in them is zero; "additive" has identity tokens in the UNet's own attention, too."""
    unet = random_pipeline().unet.requires_grad_(False)
    control, injectors = IDCtrl.from_unet(unet), IDInjectors.from_unet(unet, form=form, kernel=1)
    parts = [shaken(control, 0.01), shaken(injectors)]
    parts += [shaken(IDAttention.from_unet(unet))] if form == "additive" else []
    for part in parts:
        part.eval().requires_grad_(False)
    return Networks(unet, Adapter(*parts), build_scheduler(tiny().backbone))


def noise(batch=1):
    return initial_noise((16, 8, 8), list(range(batch)))


def main():
    graphs = []

    def keep(graph, _inputs):  # as it is, without code being made of it
        graphs.append(graph)
        return graph.forward

    torch.set_num_threads(1)
    compiled = torch.compile(sample._step, fullgraph=True, dynamic=False, backend=keep)
    sample._compiled = lambda: compiled
    net, differences = networks(), []
    for told, strength in ((conditions(), 1.0), (conditions(seed=5), 0.7)):
        settings = replace(SETTINGS, strength=strength)
        wanted = denoise(net, told, None, noise(), settings)
        found = denoise(net, told, None, noise(), replace(settings, compile=True))
        differences.append(float((found - wanted).abs().max()))
    modules = [*net.unet.modules(), *net.adapter.control.modules()]
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
    json.dump({"graphs": len(graphs), "differences": differences, "hooks": hooks}, sys.stdout)


if __name__ == "__main__":
    main()
