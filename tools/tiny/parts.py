"""What the stages of the autoencoder share."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from diffpc.diffusion.backbone import build_vae
from diffpc.presets import tiny
from diffpc.train.checkpoint import load_latest


def load_average(folder: Path, modules: dict[str, nn.Module]) -> int:
    """Put the newest checkpoint's averaged weights (plain ones where none were kept) into modules; images seen."""
    found = load_latest(folder)
    if found is None:
        raise SystemExit(f"{folder} holds no checkpoint; train that stage first")
    tensors, state, messages = found
    for message in messages:
        print(message)
    kind = "average" if any(name.startswith("average/") for name in tensors) else "weight"
    for name, module in modules.items():
        prefixes = (f"{kind}/{name}.", f"buffer/{name}.")
        module.load_state_dict(
            {
                key.split(f"/{name}.", 1)[1]: value
                for key, value in tensors.items()
                if key.startswith(prefixes)
            }
        )
    return int(state["images"])


def new_vae() -> AutoencoderKL:
    """The preset's autoencoder with random weights."""
    torch.manual_seed(0)
    return build_vae(tiny().backbone).to(memory_format=torch.channels_last)
