"""The recipes by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diffpc.presets import sdxl as sdxl_model
from diffpc.presets import tiny as tiny_model
from diffpc.train.settings import (
    CacheSettings,
    EngineSettings,
    IdentityLoss,
    LoopSettings,
    PairSettings,
    Recipe,
)


def sdxl() -> Recipe:
    """The paper's (Sec. 4.5): 1024 px, batch 20, a constant 1e-5, 700,000 iterations."""
    return Recipe(
        model=sdxl_model(),
        stage="adapter",
        loop=LoopSettings(
            images=14_000_000,
            batch=20,
            learning_rate=1e-5,
            ema_images=20_000.0,
            checkpoint_images=20_000,
        ),
        cache=CacheSettings(size=1024),
        engine=EngineSettings(precision="bfloat16", workers=8),
        identity=IdentityLoss(window=64),
        preview_images=100_000,
    )


def tiny() -> Recipe:
    """The bundled model's adapter on two CPU cores."""
    return Recipe(
        model=tiny_model(),
        stage="adapter",
        loop=LoopSettings(
            images=80_000,
            batch=32,
            learning_rate=1e-3,
            schedule="cosine",
            warmup_images=2_000,
            betas=(0.9, 0.99),
            ema_images=8_000.0,
            checkpoint_images=4_000,
        ),
        cache=CacheSettings(size=128, patches=True),
        identity=IdentityLoss(weight=0.0),
        pairs=PairSettings(text_drop=0.1, identity_drop=0.05),
    )


def tiny_gpu() -> Recipe:
    """The bundled model's adapter where a GPU is at hand: more images, larger batches, the ID loss throughout."""
    small = tiny()
    return replace(
        small,
        loop=replace(
            small.loop,
            images=2_000_000,
            batch=256,
            warmup_images=20_000,
            ema_images=50_000.0,
            checkpoint_images=100_000,
        ),
        engine=EngineSettings(precision="bfloat16", workers=8),
        identity=IdentityLoss(weight=0.1),
        preview_images=100_000,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "tiny_gpu": tiny_gpu, "sdxl": sdxl}
"""name -> recipe."""
