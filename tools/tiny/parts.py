"""What the small model's training stages share: reading one another's checkpoints, reporting progress."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTokenizer

from diffpc.diffusion.adapter import build_adapter
from diffpc.diffusion.backbone import build_vae
from diffpc.presets import tiny
from diffpc.train.checkpoint import load_latest
from diffpc.train.loop import JsonLines, Report, Trainer
from diffpc.weights import load_into


def empty_prompt(tokenizer: Path) -> Tensor:
    """Token ids (T,) of the empty prompt."""
    found = CLIPTokenizer.from_pretrained(tokenizer)("", padding="max_length", truncation=True)
    return torch.tensor(found.input_ids)


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


def start_from(model: Path | None, modules: dict[str, nn.Module]) -> None:
    """Begin with the weights of a model folder, as `assemble.py` writes it, instead of random ones."""
    if model is None:
        return
    for name, module in modules.items():
        (file,) = (model / name).glob("*.safetensors")
        load_into(module, file)


def new_adapter(unet: UNet2DConditionModel) -> dict[str, nn.Module]:
    """The preset's untrained adapter for a UNet, by the names of the pipeline's components."""
    return dict(build_adapter(tiny().adapter, unet))


def new_vae() -> AutoencoderKL:
    """The preset's autoencoder with random weights."""
    torch.manual_seed(0)
    return build_vae(tiny().backbone).to(memory_format=torch.channels_last)


def load_vae(encoder: Path, decoder: Path | None) -> AutoencoderKL:
    """The trained autoencoder, frozen; its decoder may be left untrained where nothing is decoded."""
    vae = new_vae()
    load_average(encoder, {"encoder": nn.ModuleList([vae.encoder, vae.quant_conv])})
    if decoder is not None:
        load_average(decoder, {"decoder": nn.ModuleList([vae.decoder, vae.post_quant_conv])})
    return vae.eval().requires_grad_(False)


def report_to(trainer: Trainer, folder: Path, stop_at: int | None) -> None:
    """Run a trainer with a progress bar and a log of averages."""
    log = JsonLines(folder / "log.jsonl")
    with tqdm(total=trainer.settings.images, initial=trainer.images, unit="img", mininterval=2) as bar:

        def report(step: Report) -> None:
            log(step)
            bar.update(trainer.settings.batch)
            bar.set_postfix(loss=f"{step.terms['total']:.3f}")

        trainer.run(report, stop_at)
