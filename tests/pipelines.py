"""A whole model with random weights at the bundled model's size, for tests of everything that runs one."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from diffpc.diffusion import backbone
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.injector import IDInjectors
from diffpc.identity.encoder import IDEncoder
from diffpc.pipeline import DiffPCPipeline
from diffpc.presets import tiny


def random_pipeline(seed: int = 0) -> DiffPCPipeline:
    """The layout of `presets.tiny()`; the same seed gives the same weights."""
    settings = tiny()
    adapter = settings.adapter
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = backbone.build(settings.backbone)
        encoder = IDEncoder(
            adapter.global_width,
            adapter.local_width,
            settings.backbone.text_width,
            adapter.tokens,
            adapter.layers,
            adapter.heads,
        )
        control = IDCtrl.from_unet(base.unet)
        injectors = IDInjectors.from_unet(
            base.unet, form=adapter.injector, kernel=adapter.kernel, sites=adapter.sites
        )
    tokenizer = byte_tokenizer(
        settings.backbone.text_encoder.vocabulary, settings.backbone.text_encoder.length
    )
    return DiffPCPipeline(
        base.vae.eval(),
        base.text_encoder.eval(),
        base.text_encoder_2.eval(),
        tokenizer,
        tokenizer,
        base.unet.eval(),
        base.scheduler,
        encoder.eval(),
        control.eval(),
        injectors.eval(),
        faces=asdict(settings.faces),
    )


def byte_tokenizer(vocabulary: int, length: int) -> CLIPTokenizer:
    """CLIP's format without merges: single bytes, bytes that end a word, fillers, then the two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = alphabet + [f"{byte}</w>" for byte in alphabet]
    pieces += [f"<|unused{number}|>" for number in range(vocabulary - 2 - len(pieces))]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    with TemporaryDirectory() as folder:
        words, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        words.write_text(
            json.dumps({piece: number for number, piece in enumerate(pieces)}, ensure_ascii=False)
        )
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(vocab=str(words), merges=str(merges), model_max_length=length)
