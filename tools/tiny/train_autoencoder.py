"""Train the small model's autoencoder: the encoder from the teacher's latents, then the decoder; run again to resume.

The latent space is the first 16 principal directions of the teacher's 32 channels. Stages:

    python tools/tiny/train_autoencoder.py encoder --data runs/tiny/data --teacher DATA/taef2 --folder runs/tiny/encoder
    python tools/tiny/train_autoencoder.py encode  --data runs/tiny/data --folder runs/tiny/encoder
    python tools/tiny/train_autoencoder.py decoder --data runs/tiny/data --folder runs/tiny/decoder
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from parts import load_average, new_vae
from teacher import encoder as teacher_encoder
from torch import Tensor, nn

from diffpc.presets import tiny
from diffpc.train.autoencoder import DecoderTask, EncoderTask
from diffpc.train.loop import JsonLines, Trainer
from diffpc.train.settings import LoopSettings

PHOTOS = 1_600
SETTINGS = {
    "encoder": LoopSettings(
        images=5_600, batch=8, learning_rate=2e-3, schedule="cosine", warmup_images=500, ema_images=0
    ),
    "decoder": LoopSettings(
        images=160_000, batch=16, learning_rate=1e-3, schedule="cosine", warmup_images=500, ema_images=2_000
    ),
}


def pixels(crops: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def lesson(crops: np.ndarray, teacher: Path) -> tuple[Tensor, Tensor]:
    """Photos with the teacher's latents in their principal directions; every fourth as a grey mask, as renders are."""
    draw = np.random.default_rng(0)
    images = pixels(crops[np.sort(draw.choice(len(crops), PHOTOS, replace=False))])
    rows, columns = np.mgrid[: images.shape[2], : images.shape[3]]
    for number in range(0, PHOTOS, 4):
        x, y, radius = draw.uniform(50, 78), draw.uniform(50, 78), draw.uniform(30, 50)
        inside = torch.from_numpy((columns - x) ** 2 + ((rows - y) / 1.25) ** 2 < radius**2)
        images[number] = torch.where(inside, images[number].mean(0, keepdim=True), -1.0)
    network = teacher_encoder(teacher / "taef2_encoder.pth")
    with torch.no_grad():
        latents = torch.cat([network((part + 1) / 2) for part in images.split(32)])
    return images, principal(latents, torch.arange(PHOTOS) % 4 != 0)


def principal(latents: Tensor, chosen: Tensor) -> Tensor:
    """The leading directions of the chosen images' latents, scaled as one to about unit variance."""
    channels = tiny().backbone.vae.latent_channels
    flat = latents[chosen].movedim(1, -1).flatten(0, -2)
    variances, directions = torch.linalg.eigh(torch.cov((flat - flat.mean(0)).T))
    leading = directions.flip(1)[:, :channels] / variances.flip(0)[:channels].mean().sqrt()
    return ((latents.movedim(1, -1) - flat.mean(0)) @ leading).movedim(-1, 1).contiguous()


def train(task: EncoderTask | DecoderTask, stage: str, folder: Path, stop_at: int | None) -> None:
    """Run one stage."""
    trainer = Trainer(task, replace(SETTINGS[stage], checkpoint_images=2_000), folder)
    for message in trainer.resume():
        print(message)
    trainer.run(JsonLines(folder / "log.jsonl", every=400), stop_at)


def encode(vae: AutoencoderKL, data: Path) -> None:
    """Latents of every crop with unit variance, as float16; prints the scaling factor that does it."""
    crops = np.load(data / "crops.npy", mmap_mode="r")
    with torch.no_grad():
        parts = [
            vae.encode(pixels(crops[start : start + 64])).latent_dist.mode()
            for start in range(0, len(crops), 64)
        ]
    latents = torch.cat(parts)
    print(f"scaling factor {1 / latents.std().item():.4f}")
    np.save(data / "latents.npy", (latents / latents.std()).half().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("encoder", "encode", "decoder"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--stop-at", type=int)
    parser.add_argument(
        "--window", type=int, help="side of the decoder's latent windows; all of a picture by default"
    )
    arguments = parser.parse_args()
    crops = np.load(arguments.data / "crops.npy", mmap_mode="r")
    vae = new_vae()
    if arguments.stage == "encoder":
        train(
            EncoderTask(vae, *lesson(crops, arguments.teacher)),
            "encoder",
            arguments.folder,
            arguments.stop_at,
        )
    elif arguments.stage == "encode":
        load_average(arguments.folder, {"encoder": nn.ModuleList([vae.encoder, vae.quant_conv])})
        encode(vae, arguments.data)
    else:
        latents = torch.from_numpy(np.load(arguments.data / "latents.npy"))
        pictures = torch.from_numpy(np.load(arguments.data / "crops.npy")).permute(0, 3, 1, 2)
        task = DecoderTask(vae, pictures, latents, arguments.window)
        train(task, "decoder", arguments.folder, arguments.stop_at)


if __name__ == "__main__":
    main()
