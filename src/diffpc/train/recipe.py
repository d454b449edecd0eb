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
    Stage,
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
        cache=CacheSettings(size=128, spread=1.0, patches=True, mirrored=True, pictures=True),
        identity=IdentityLoss(weight=0.0),
        pairs=PairSettings(text_drop=0.1, density="linear", own_skin=0.5),
        face_weight=4.0,
    )


def tiny_vae() -> Recipe:
    """The bundled model's autoencoder from photos alone."""
    return _autoencoder("vae", images=200_000)


def tiny_decoder() -> Recipe:
    """Its decoder on a finished encoder: windows about the faces, which are to stay the same person's."""
    drawn = _autoencoder("decoder", images=160_000)
    return replace(drawn, window=12, identity=IdentityLoss(weight=8.0), realism=0.5)


def tiny_base() -> Recipe:
    """Its text encoders and UNet on a finished autoencoder."""
    small = tiny()
    pairs = replace(small.pairs, same_person_pairs=False, density="uniform")
    return replace(small, stage="base", loop=replace(small.loop, images=96_000), pairs=pairs)


def tiny_align() -> Recipe:
    """The start of its ID-Encoder: what a caption of the person would say."""
    small = tiny()
    return replace(
        small,
        stage="align",
        loop=replace(small.loop, images=100_000, batch=64, ema_images=4_000.0, checkpoint_images=20_000),
        pairs=replace(small.pairs, same_person_pairs=False, text_drop=0.0),
    )


def tiny_joint() -> Recipe:
    """Its adapter and base together: a base of 96,000 images still has much to learn."""
    small = tiny()
    pairs = replace(small.pairs, adapter_drop=0.1)
    return replace(small, stage="joint", loop=replace(small.loop, images=120_000), pairs=pairs)


def tiny_gpu() -> Recipe:
    """As `tiny_joint` where a GPU is at hand: more images, larger batches, the ID loss throughout."""
    small = tiny_joint()
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


def tiny_critic() -> Recipe:
    """A critic of its portraits: what the captions of photos say, and their 3D faces, seen in noisy latents."""
    small = tiny()
    loop = replace(small.loop, images=400_000, batch=64, weight_decay=0.05, ema_images=4_000.0)
    return replace(small, stage="critic", loop=replace(loop, checkpoint_images=50_000), preview_images=0)


def tiny_obey() -> Recipe:
    """Its adapter and base by what they draw, graded by --critic: for one branch, without guidance."""
    small = tiny()
    loop = replace(
        small.loop,
        images=60_000,
        batch=16,
        learning_rate=2e-4,
        warmup_images=500,
        betas=(0.5, 0.99),
        ema_images=1_000.0,
    )
    return replace(
        small,
        stage="obey",
        loop=loop,
        identity=IdentityLoss(weight=1.2, until=750, window=12),
        preview_images=2_000,
    )


def _autoencoder(stage: Stage, images: int) -> Recipe:
    small = tiny()
    loop = replace(small.loop, images=images, batch=16, warmup_images=500, ema_images=2_000.0)
    return replace(small, stage=stage, loop=loop, window=8)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "tiny_vae": tiny_vae,
    "tiny_decoder": tiny_decoder,
    "tiny_base": tiny_base,
    "tiny_align": tiny_align,
    "tiny_joint": tiny_joint,
    "tiny_gpu": tiny_gpu,
    "tiny_critic": tiny_critic,
    "tiny_obey": tiny_obey,
    "sdxl": sdxl,
}
"""name -> recipe."""
