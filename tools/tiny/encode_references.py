"""What the adapter is told of every training photo: identity features of the person, and I_3d of each crop.

Reads the rows of `prepare.py` and the face parameters of `tools/face3d`; writes `references.npz` (per photo:
global vector, patch features, landmarks, detected or not) and `renders.npy` (N, 128, 128) uint8, one I_3d per
crop. The photos go through the product's own detector, matte and alignment, so that training sees what inference
will.

    python tools/tiny/encode_references.py --lfw DATA/lfw --data runs/tiny/data --params FILE
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from diffpc.face3d.flame import axis_angle_to_matrix
from diffpc.face3d.light import load_light_model
from diffpc.face3d.render import render
from diffpc.faces.detect import load_detector
from diffpc.faces.embed import load_embedder
from diffpc.faces.matte import load_matter
from diffpc.identity.local import load_local_features
from diffpc.identity.reference import ReferenceTools, reference_features
from diffpc.images import read_image
from diffpc.presets import tiny

SIDE = 128


def encode_photos(lfw: Path, photos: list[str], output: Path) -> None:
    """Identity features and landmarks (layout eye_corners_nose) of every photo; those without a face are marked."""
    faces = tiny().faces
    tools = ReferenceTools(
        embedder=load_embedder(faces.embedder),
        local=load_local_features(faces.local_features),
        matter=load_matter(faces.matter),
        scale=faces.reference_scale,
    )
    detector = load_detector(faces.detector)
    vectors, patches, landmarks, found = [], [], [], []
    for name in tqdm(photos, unit="photo"):
        image = read_image(lfw / "images" / name)
        face = central_face(detector(image))
        found.append(face is not None)
        features = reference_features(image, face, tools) if face else None
        vectors.append(features.global_vector[0] if features else torch.zeros(1, 128))
        patches.append(features.patches[0].half() if features else torch.zeros(64, 133).half())
        landmarks.append(face.landmarks if face else np.zeros((5, 2)))
    np.savez(
        output,
        image=np.array(photos),
        found=np.array(found),
        vectors=torch.stack(vectors).numpy(),
        patches=torch.stack(patches).numpy(),
        landmarks=np.stack(landmarks).astype(np.float32),
    )


def paired_photos(rows: list[dict], limit: int) -> list[str]:
    """Up to `limit` photos of every person who has at least two: only these can be reference and target."""
    persons = {}
    for name in sorted({row["image"] for row in rows}):
        persons.setdefault(name.split("/")[0], []).append(name)
    return [name for photos in persons.values() if len(photos) > 1 for name in photos[:limit]]


def central_face(faces: tuple) -> object | None:
    """The face nearest the middle: the data set's photos are centred on the person they name."""
    middle = np.array([125.0, 125.0])
    centred = [face for face in faces if np.abs(face.landmarks.mean(0) - middle).max() < 40]
    return centred[0] if centred else None


def encode_renders(rows: list[dict], params: dict[str, np.ndarray], output: Path) -> None:
    """I_3d of every crop from the person's shape and the photo's own expression and pose; zeros if unlabelled."""
    model = load_light_model()
    index = {name: number for number, name in enumerate(params["image"].tolist())}
    pictures = np.zeros((len(rows), SIDE, SIDE), np.uint8)
    for start in tqdm(range(0, len(rows), 64), unit="batch"):
        chosen = [n for n in range(start, min(start + 64, len(rows))) if rows[n]["image"] in index]
        at = [index[rows[n]["image"]] for n in chosen]
        tensor = {key: torch.from_numpy(params[key][at]) for key in ("shape", "expression", "rotation")}
        world = model.frontal(tensor["shape"], tensor["expression"])
        world = world @ axis_angle_to_matrix(tensor["rotation"]).transpose(1, 2)
        boxes = torch.tensor([rows[n]["box"] for n in chosen])
        placed = project_to_crop(world, {key: params[key][at] for key in ("scale", "tx", "ty")}, boxes)
        shaded = (render(placed, model.triangles, SIDE, SIDE, world) * 255).round().byte().numpy()
        for number, picture in zip(chosen, shaded, strict=True):
            pictures[number] = picture[:, ::-1] if rows[number]["mirrored"] else picture
    np.save(output, pictures)


def project_to_crop(world: torch.Tensor, camera: dict[str, np.ndarray], boxes: torch.Tensor) -> torch.Tensor:
    """World vertices (B, V, 3) -> rasteriser coordinates of the crops (B, 3: left, top, side in photo pixels)."""
    scale, x, y = (torch.from_numpy(camera[key])[:, None] for key in ("scale", "tx", "ty"))
    left, top, side = (boxes[:, n, None] for n in range(3))
    across = 2 * (scale * world[..., 0] + x + 0.5 - left) / side - 1
    down = 2 * (y - scale * world[..., 1] + 0.5 - top) / side - 1
    return torch.stack([across, down, 10 - world[..., 2]], dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--per-person", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads((arguments.data / "crops.json").read_text())["rows"]
    if not (arguments.data / "renders.npy").exists():
        with np.load(arguments.params) as params:
            encode_renders(rows, dict(params), arguments.data / "renders.npy")
    encode_photos(arguments.lfw, paired_photos(rows, arguments.per_person), arguments.data / "references.npz")


if __name__ == "__main__":
    main()
