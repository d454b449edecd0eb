"""The teacher autoencoder TAEF2, read from its published state dicts.

Source: madebyollin/taesd @ 5cccb12d (MIT). It is used only while the small model is made: our own
autoencoder learns a rotated part of its latent space. Nothing of it is shipped.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

WIDTH = 64
LATENT_CHANNELS = 32


class Block(nn.Module):
    """Residual block of three 3x3 convolutions, with an optional normalised 1x1 branch."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        )
        self.pool = (
            nn.Sequential(
                nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
                nn.GroupNorm(4, 4 * WIDTH),
                nn.ReLU(),
                nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def _down() -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)


def _up() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]


def encoder(file: Path) -> nn.Sequential:
    """RGB in [0, 1], (B, 3, H, W) -> latents (B, 32, H/8, W/8), near unit scale."""
    network = nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1),
        Block(),
        *(_down(), Block(), Block(), Block()),
        *(_down(), Block(), Block(), Block()),
        *(_down(), Block(True), Block(True), Block(True)),
        nn.Conv2d(WIDTH, LATENT_CHANNELS, 3, padding=1),
    )
    return _loaded(network, file)


def decoder(file: Path) -> nn.Sequential:
    """Latents (B, 32, h, w) -> RGB near [0, 1], (B, 3, 8h, 8w)."""
    network = nn.Sequential(
        *(Clamp(), nn.Conv2d(LATENT_CHANNELS, WIDTH, 3, padding=1), nn.ReLU()),
        *(Block(True), Block(True), Block(True), *_up()),
        *(Block(), Block(), Block(), *_up()),
        *(Block(), Block(), Block(), *_up()),
        *(Block(), nn.Conv2d(WIDTH, 3, 3, padding=1)),
    )
    return _loaded(network, file)


def _loaded(network: nn.Sequential, file: Path) -> nn.Sequential:
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.float().eval().requires_grad_(False)
