"""Teach the small model's ID-Encoder to say what a caption of the looks would say; run again to resume.

    python tools/tiny/train_align.py --lfw DATA/lfw --data runs/tiny/data --tokenizer runs/tiny/tokenizer \
        --base runs/tiny/base --folder runs/tiny/align
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from parts import load_average, new_adapter, report_to
from transformers import CLIPTokenizer

from diffpc.curate.grammar import description
from diffpc.curate.traits import traits_of
from diffpc.diffusion.backbone import Backbone, build, encode_token_ids
from diffpc.presets import tiny
from diffpc.train import recipe
from diffpc.train.align import AlignData, AlignTask
from diffpc.train.loop import Trainer


def read_data(lfw: Path, folder: Path, tokenizer: Path, backbone: Backbone) -> AlignData:
    """The photos with a detected face, each with the description of its looks as text tokens."""
    with np.load(folder / "references.npz") as stored:
        kept = np.flatnonzero(stored["found"])
        images, vectors, patches = (stored[name][kept] for name in ("image", "vectors", "patches"))
    with (lfw / "attributes.csv").open() as stream:
        attributes = {row["image"]: row for row in csv.DictReader(stream)}
    rows = [attributes.get(Path(name).name) for name in images.tolist()]
    texts = [description(traits_of(row, {}, None)) if row else "" for row in rows]
    different = ["", *sorted(set(texts) - {""})]
    number = {text: index for index, text in enumerate(different)}
    return AlignData(
        vectors=torch.from_numpy(vectors),
        patches=torch.from_numpy(patches),
        caption=torch.tensor([number[text] for text in texts]),
        tokens=encoded(different, CLIPTokenizer.from_pretrained(tokenizer), backbone),
    )


@torch.no_grad()
def encoded(texts: list[str], tokenizer: CLIPTokenizer, backbone: Backbone) -> torch.Tensor:
    """The text encoders' tokens (K, T, d)."""
    ids = torch.tensor(tokenizer(texts, padding="max_length", truncation=True).input_ids)
    encoders = (backbone.text_encoder, backbone.text_encoder_2)
    return torch.cat([encode_token_ids(part, part, encoders).tokens for part in ids.split(64)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("lfw", "data", "tokenizer", "base", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = build(tiny().backbone)
    load_average(arguments.base, backbone.networks())
    id_encoder = new_adapter(backbone.unet)["id_encoder"]
    data = read_data(arguments.lfw, arguments.data, arguments.tokenizer, backbone)
    id_encoder.fit_scale(data.vectors.float(), data.patches.float())
    loop = replace(
        recipe.tiny().loop, images=arguments.images, batch=64, ema_images=4_000, checkpoint_images=20_000
    )
    trainer = Trainer(AlignTask(id_encoder, data), loop, arguments.folder)
    for message in trainer.resume():
        print(message)
    report_to(trainer, arguments.folder, None)


if __name__ == "__main__":
    main()
