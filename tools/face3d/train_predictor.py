"""Train the light predictor: the light model's coefficients from a small levelled crop.

    python -m tools.face3d.train_predictor --data /work/shared/data/lfw --runs runs

Run the same command again to resume; progress is counted in images, and `checkpoint.pt` is replaced whole.
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffpc.face3d.encoder import EncoderOutput, EncoderSettings, FaceEncoder
from diffpc.face3d.flame import axis_angle_to_matrix, project
from diffpc.face3d.light import LightFaceModel, load_light_data
from tools.face3d.labels import read_persons
from tools.face3d.samples import Batch, Photos, batch, load_photos, mirror_of
from tools.face3d.triangulate import IMAGE_LEFT_EYE, INNER_LIPS

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
EMPHASIS = 3.0
"""Weight of the rims of eyes and mouth against the other vertices."""
CAMERA_SCALE = 0.85
"""Where the camera's scale starts: the mean over the training squares."""


@dataclass(frozen=True)
class Schedule:
    """Small pictures first: they are cheap, and the pose is learnt from them as well."""

    images: int = 110_000
    batch: int = 48
    resolutions: tuple[tuple[float, int], ...] = ((0.75, 80), (1.0, 96))
    """(share of the training by which it ends, side in pixels)"""
    rate: float = 2e-3
    warm_up: int = 5_000
    weight_decay: float = 0.02
    save_seconds: float = 60.0

    def resolution(self, seen: int) -> int:
        """Side of the pictures after `seen` images."""
        return next(side for end, side in self.resolutions if seen < end * self.images or end == 1.0)

    def rate_at(self, seen: int) -> float:
        """Linear warm-up, then half a cosine down to a hundredth."""
        done = min(1.0, seen / self.images)
        return self.rate * min(1.0, (seen + 1) / self.warm_up) * (0.505 + 0.495 * math.cos(math.pi * done))


@dataclass(frozen=True)
class Terms:
    """The loss, by part; each a scalar in hundredths of the inter-ocular distance or near that size."""

    posed: Tensor
    """Landmarks in the picture, everything predicted."""
    pose: Tensor
    """The same with the true face: rotation and camera alone."""
    face: Tensor
    """Vertices in the frontal frame: shape and expression alone."""
    expression: Tensor
    """Mean absolute error of the expression coefficients."""
    shape: Tensor
    """Mean squared error of the identity coefficients."""

    @property
    def total(self) -> Tensor:
        return 0.05 * (self.posed + self.pose + self.face + 20 * self.expression + 0.5 * self.shape)


def encoder_settings(model: LightFaceModel) -> EncoderSettings:
    """FaceEncoder's sizes for the light model: small backbones, no eyelid, no jaw."""
    return EncoderSettings(model.sizes.shape, model.sizes.expression, 0, 0, "small", "small", "small")


def new_encoder(model: LightFaceModel) -> FaceEncoder:
    """Untrained, starting at the mean face in the middle of the picture."""
    torch.manual_seed(0)
    encoder = FaceEncoder(encoder_settings(model))
    with torch.no_grad():
        encoder.get_parameter("pose_encoder.pose_cam_layers.0.bias")[3] = CAMERA_SCALE
    return encoder


def vertex_weights(pairs: np.ndarray) -> Tensor:
    """(V,) mean 1, more on the rims of the eyes and the mouth."""
    eyes = [*IMAGE_LEFT_EYE, *(int(pairs[index]) for index in IMAGE_LEFT_EYE)]
    weight = torch.ones(len(pairs))
    weight[[*eyes, *INNER_LIPS, *OUTER_LIPS]] = EMPHASIS
    return weight / weight.mean()


def losses(found: EncoderOutput, true: Batch, model: LightFaceModel, weight: Tensor) -> Terms:
    """See Terms. Distances are divided by the true inter-ocular distance and given in percent."""
    face, true_face = model.frontal(found.shape, found.expression), model.frontal(true.shape, true.expression)

    def placed(vertices: Tensor, rotation: Tensor, camera: Tensor) -> Tensor:
        return project(vertices @ axis_angle_to_matrix(rotation).transpose(1, 2), camera)

    target = placed(true_face, true.rotation, true.camera)
    unit = 100 / true.camera[:, :1, None]

    def distance(placed_vertices: Tensor) -> Tensor:
        difference = (placed_vertices - target) * unit * torch.tensor([1.0, 1.0, 0.5])
        return (difference.square().sum(-1) + 1e-2).sqrt().mul(weight).mean()

    return Terms(
        posed=distance(placed(face, found.rotation, found.camera)),
        pose=distance(placed(true_face, found.rotation, found.camera)),
        face=((face - true_face).mul(100).square().sum(-1) + 1e-2).sqrt().mul(weight).mean(),
        expression=functional.l1_loss(found.expression, true.expression),
        shape=functional.mse_loss(found.shape, true.shape),
    )


def parameter_groups(encoder: FaceEncoder, decay: float) -> list[dict]:
    """No decay on norms and biases."""
    matrices = [value for value in encoder.parameters() if value.ndim > 1]
    vectors = [value for value in encoder.parameters() if value.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def save(file: Path, state: dict) -> None:
    draft = file.with_suffix(".tmp")
    torch.save(state, draft)
    draft.replace(file)


def order(photos: Photos, seen: int, size: int) -> tuple[np.ndarray, np.random.Generator]:
    """The next photos and the randomness of their batch: both follow from the progress alone."""
    count = len(photos.box)
    places = np.arange(seen, seen + size)
    epochs = places // count
    shuffled = {
        epoch: np.random.default_rng((1, int(epoch))).permutation(count) for epoch in np.unique(epochs)
    }
    chosen = np.array([shuffled[epoch][place % count] for epoch, place in zip(epochs, places, strict=True)])
    return chosen, np.random.default_rng((2, seen))


def train(photos: Photos, pairs: np.ndarray, folder: Path, schedule: Schedule) -> None:
    data = load_light_data()
    model, mirror, weight = LightFaceModel(data), mirror_of(data, pairs), vertex_weights(pairs)
    encoder = new_encoder(model).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(parameter_groups(encoder, schedule.weight_decay), lr=schedule.rate)
    checkpoint, seen = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        seen = state["seen"]
    saved = reported = time.monotonic()
    sums, steps, cpu = np.zeros(5), 0, time.process_time()
    while seen < schedule.images:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(seen)
        chosen, random = order(photos, seen, schedule.batch)
        true = batch(photos, chosen, mirror, schedule.resolution(seen), random)
        terms = losses(
            encoder(true.images.contiguous(memory_format=torch.channels_last)), true, model, weight
        )
        optimiser.zero_grad(set_to_none=True)
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 5.0)
        optimiser.step()
        seen += schedule.batch
        sums += [
            float(x.detach()) for x in (terms.posed, terms.pose, terms.face, terms.expression, terms.shape)
        ]
        steps += 1
        now = time.monotonic()
        if now - reported > 30:
            used = time.process_time() - cpu
            names = ("posed", "pose", "face", "expression", "shape")
            parts = " ".join(f"{name} {value:.3f}" for name, value in zip(names, sums / steps, strict=True))
            print(f"{seen} images, {parts}, {steps * schedule.batch / used:.0f} images/cpu-s", flush=True)
            reported, sums, steps, cpu = now, np.zeros(5), 0, time.process_time()
        if now - saved > schedule.save_seconds or seen >= schedule.images:
            state = {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "seen": seen}
            save(checkpoint, state)
            saved = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--folder", type=Path, default=Path("runs/predictor"))
    parser.add_argument("--images", type=int, default=Schedule.images)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    photos = load_photos(
        options.runs / "lfw_params.npz",
        options.data / "images",
        read_persons(options.data / "peopleDevTrain.txt"),
        load_light_data(),
        options.runs / "predictor" / "photos.npy",
    )
    with np.load(options.runs / "light_model_draft.npz") as raw:
        pairs = raw["mirror"]
    train(photos, pairs, options.folder, Schedule(images=options.images))


if __name__ == "__main__":
    main()
