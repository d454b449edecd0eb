"""Put the trained parts together as one folder that `DiffPCPipeline.from_pretrained` reads, in half precision.

    python tools/tiny/assemble.py --tokenizer runs/tiny/tokenizer --base runs/tiny/base --encoder runs/tiny/encoder \
        --decoder runs/tiny/decoder --adapter runs/tiny/adapter --output src/diffpc/assets/tiny
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch
from parts import load_average, load_vae, new_adapter
from transformers import CLIPTokenizer

from diffpc.diffusion.backbone import build
from diffpc.pipeline import DiffPCPipeline
from diffpc.presets import tiny


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("tokenizer", "base", "encoder", "decoder", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, help="left out: an untrained adapter, for a look at the base")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=2.0)
    arguments = parser.parse_args()
    settings = tiny()
    parts = build(settings.backbone)
    base_images = load_average(arguments.base, parts.networks())
    adapter = new_adapter(parts.unet)
    adapter_images = load_average(arguments.adapter, adapter) if arguments.adapter else 0
    tokenizer = CLIPTokenizer.from_pretrained(arguments.tokenizer)
    pipeline = DiffPCPipeline(
        vae=load_vae(arguments.encoder, arguments.decoder),
        text_encoder=parts.text_encoder,
        text_encoder_2=parts.text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=parts.unet,
        scheduler=parts.scheduler,
        faces=asdict(settings.faces),
        defaults={"steps": arguments.steps, "guidance": arguments.guidance},
        **adapter,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(arguments.output)
    size = sum(file.stat().st_size for file in arguments.output.rglob("*") if file.is_file())
    print(f"base after {base_images} images, adapter after {adapter_images}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
