"""Train the small model's adapter on its frozen base; run again to resume.

    python tools/tiny/train_adapter.py --data runs/tiny/data --tokenizer runs/tiny/tokenizer --base runs/tiny/base \
        --encoder runs/tiny/encoder --decoder runs/tiny/decoder --folder runs/tiny/adapter
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pairs import Arrays, Drops, Pairs
from parts import empty_prompt, load_average, load_vae, new_adapter, report_to, start_from
from tqdm import tqdm

from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import build
from diffpc.faces.embed import load_embedder
from diffpc.presets import tiny
from diffpc.train import recipe
from diffpc.train.adapter import AdapterTask, Networks
from diffpc.train.loop import Trainer
from diffpc.train.settings import IdentityLoss

MIRRORED_CORNERS = [2, 3, 0, 1, 4]
"""Order of dlib's five points after a mirror: the eyes change places."""


def read_data(folder: Path, tokenizer: Path, vae: torch.nn.Module) -> Arrays:
    """The crops of all photos with a detected face whose person has at least two such photos."""
    with np.load(folder / "references.npz") as stored:
        references = {name: stored[name] for name in stored.files}
    kept = paired(references["image"], references["found"])
    row_of = {name: row for row, name in enumerate(references["image"][kept].tolist())}
    rows = json.loads((folder / "crops.json").read_text())["rows"]
    chosen = np.array([number for number, row in enumerate(rows) if row["image"] in row_of])
    photos = np.array([row_of[rows[number]["image"]] for number in chosen])
    persons = [name.split("/")[0] for name in references["image"][kept]]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(persons))}
    landmarks = [
        crop_landmarks(references["landmarks"][kept][photo], rows[n])
        for n, photo in zip(chosen, photos, strict=True)
    ]
    return Arrays(
        latents=torch.from_numpy(np.load(folder / "latents.npy")[chosen]),
        z_3d=encode_renders(folder, chosen, vae),
        captions=torch.from_numpy(np.load(folder / "captions.npy")[chosen]),
        landmarks=torch.tensor(np.stack(landmarks), dtype=torch.float32),
        photo=torch.from_numpy(photos),
        person=torch.tensor([numbers[name] for name in persons]),
        vectors=torch.from_numpy(references["vectors"][kept]),
        patches=torch.from_numpy(references["patches"][kept]),
        empty=empty_prompt(tokenizer),
    )


def paired(images: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Rows whose face was found and whose person has another such row."""
    persons = np.array([name.split("/")[0] for name in images])
    names, counts = np.unique(persons[found], return_counts=True)
    return np.flatnonzero(found & np.isin(persons, names[counts > 1]))


def crop_landmarks(points: np.ndarray, row: dict) -> np.ndarray:
    """Photo pixels -> pixels of the 128 px crop."""
    left, top, side = row["box"]
    placed = (points + 0.5 - [left, top]) * 128 / side - 0.5
    if row["mirrored"]:
        placed = placed[MIRRORED_CORNERS]
        placed[:, 0] = 127 - placed[:, 0]
    return placed


def encode_renders(folder: Path, chosen: np.ndarray, vae: torch.nn.Module) -> torch.Tensor:
    """z_3d of the chosen crops, as float16; kept beside the data."""
    file = folder / "z_3d.npy"
    if not file.exists():
        renders = np.load(folder / "renders.npy", mmap_mode="r")
        latents = []
        for start in tqdm(range(0, len(chosen), 64), unit="batch", desc="z_3d"):
            picture = torch.from_numpy(renders[chosen[start : start + 64]]).float() / 127.5 - 1
            with torch.no_grad():
                mode = vae.encode(picture[:, None].expand(-1, 3, -1, -1)).latent_dist.mode()
            latents.append((mode * vae.config["scaling_factor"]).half())
        np.save(file, torch.cat(latents).numpy())
    return torch.from_numpy(np.load(file))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("data", "tokenizer", "base", "encoder", "decoder", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--images", type=int, default=400_000)
    parser.add_argument("--stop-at", type=int)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--identity-weight", type=float, default=0.0)
    parser.add_argument("--identity-until", type=int, default=600, help="largest timestep with the ID loss")
    parser.add_argument("--start-from", type=Path, help="a model folder whose adapter to go on from")
    parser.add_argument("--adapter", type=Path, help="another run's folder whose adapter to go on from")
    parser.add_argument("--joint", action="store_true", help="train the base along")
    parser.add_argument("--align", type=Path, help="the folder of train_align.py")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    settings = tiny()
    # Only the ID loss looks at decoded pictures.
    vae = load_vae(arguments.encoder, arguments.decoder if arguments.identity_weight else None)
    backbone = build(settings.backbone)
    load_average(arguments.base, backbone.networks())
    backbone.unet.to(memory_format=torch.channels_last)
    adapter = new_adapter(backbone.unet)
    networks = Networks(
        id_encoder=adapter["id_encoder"],
        adapter=Adapter(adapter["id_ctrl"], adapter["id_injectors"]),
        decoder=vae,
        embedder=load_embedder(settings.faces.embedder),
        layout="eye_corners_nose",
    )
    data = read_data(arguments.data, arguments.tokenizer, vae)
    adapter["id_encoder"].fit_scale(data.vectors.float(), data.patches.float())
    start_from(arguments.start_from, adapter)
    if arguments.adapter:
        load_average(arguments.adapter, adapter)
    if arguments.align:
        load_average(arguments.align, {"id_encoder": adapter["id_encoder"]})
    pairs = Pairs(data, Drops() if arguments.joint else Drops(adapter=0.0))
    identity = IdentityLoss(arguments.identity_weight, arguments.identity_until)
    task = AdapterTask(backbone, networks, pairs.samples, identity, arguments.joint)
    loop = replace(
        recipe.tiny().loop,
        images=arguments.images,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
    )
    trainer = Trainer(task, loop, arguments.folder)
    for message in trainer.resume():
        print(message)
    report_to(trainer, arguments.folder, arguments.stop_at)


if __name__ == "__main__":
    main()
