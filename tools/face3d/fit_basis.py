"""Learn the light face model from labelled photos, and every photo's coefficients.

    python -m tools.face3d.fit_basis --data /work/shared/data/lfw --runs runs

Only the persons of peopleDevTrain.txt teach the model. Writes `light_model_draft.npz` (the model) and
`lfw_params.npz` (all labelled photos' coefficients, to train the predictor and the diffusion model).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diffpc.weights import half, save_weights
from tools.face3d.align import similarity
from tools.face3d.basis import (
    RESIDUAL_DEVIATION,
    Basis,
    align_all,
    columns,
    expression_basis,
    mirror_pairs,
    mirrored,
    name_mirror,
    person_means,
    principal,
    semantic_names,
)
from tools.face3d.fit import Fitted, fit, reconstruct
from tools.face3d.labels import Labels, interocular, read_labels, split
from tools.face3d.triangulate import triangulate

SHAPES, RESIDUALS = 40, 9
CALM = {
    "mouthSmileLeft": 0.15,
    "mouthSmileRight": 0.15,
    "jawOpen": 0.03,
    "eyeBlinkLeft": 0.25,
    "eyeBlinkRight": 0.25,
}
ROUNDS = 3
RIDGE = 1.0
FORMULA = (
    "v = mean + shape @ shape_basis + expression @ expression_basis (V, 3): x right, y up, z to the viewer, "
    "unit = inter-ocular distance; w = v @ R(rotation).T rotation an axis-angle; in pixels of the 250 px "
    "photo (pixel centres at integers): px = scale * w_x + tx, py = -scale * w_y + ty; depth away from the "
    "viewer = -scale * w_z + tz"
)


SOURCE = (
    "learnt by tools/face3d/fit_basis.py from MediaPipe face landmarks (Apache-2.0) of Labeled Faces in the "
    "Wild, persons of peopleDevTrain.txt"
)


def learn(labels: Labels, shapes: int = SHAPES, residuals: int = RESIDUALS) -> Basis:
    """Alternate between the bases, given the alignment, and the alignment, given the bases."""
    mean, weight = align_all(labels)
    mirror = mirror_pairs(mean)
    mean, weight = (mean + mirrored(mean, mirror)) / 2, (weight + weight[mirror]) / 2
    names = semantic_names(labels.blendshapes)
    scores = labels.blendshapes[:, columns(names)]
    aligned = similarity(mean, labels.points, weight).invert(labels.points)
    for _ in range(ROUNDS):
        semantic = expression_basis(aligned, scores, labels, mirror, RIDGE)
        still = aligned - np.tensordot(scores, semantic, 1)
        mean = still.mean(0)
        mean = ((mean + mirrored(mean, mirror)) / 2).astype(np.float32)
        shape, residual = _leftovers(still - mean, labels, mirror, (shapes, residuals))
        every = names + tuple(f"residual{index:02d}" for index in range(residuals))
        basis = Basis(mean, shape, np.concatenate([semantic, residual]), every, mirror, weight)
        aligned = fit(basis, labels).pose.invert(labels.points)
    return basis


def _leftovers(
    rest: NDArray, labels: Labels, mirror: NDArray, sizes: tuple[int, int]
) -> tuple[NDArray, NDArray]:
    """What the semantic directions leave -> identity (between) and residual (within persons) directions."""
    means, which, _ = person_means(rest, labels.person)
    shape = principal(means, sizes[0], mirror)
    flat = shape.reshape(len(shape), -1)
    coefficients = np.linalg.lstsq(flat.T, means.reshape(len(means), -1).T, rcond=None)[0].T
    within = rest - np.tensordot(coefficients, shape, 1)[which]
    return shape, principal(within.astype(np.float32), sizes[1], mirror, RESIDUAL_DEVIATION)


def open_face(basis: Basis) -> NDArray:
    """The mean face with eyes and mouth open, so that no rim of the triangulation is degenerate."""
    vertices = basis.mean.copy()
    for name, value in (("jawOpen", 0.7), ("eyeWideLeft", 0.3), ("eyeWideRight", 0.3)):
        vertices += value * basis.expression[basis.names.index(name)]
    return vertices


def nme(basis: Basis, fitted: Fitted, labels: Labels) -> float:
    """Mean distance in the image plane, in percent of the inter-ocular distance."""
    error = np.linalg.norm((reconstruct(basis, fitted) - labels.points)[..., :2], axis=-1).mean(1)
    return float((error / interocular(labels.points)).mean() * 100)


def save_model(file: Path, basis: Basis, triangles: NDArray) -> None:
    np.savez(
        file,
        mean=basis.mean,
        shape_basis=basis.shape,
        expression_basis=basis.expression,
        names=np.array(basis.names),
        triangles=triangles,
        mirror=basis.mirror,
        weight=basis.weight,
        formula=FORMULA,
    )


def rest_expression(basis: Basis, expression: NDArray) -> NDArray[np.float32]:
    """The mean fitted expression (E,) of the calm photos, made symmetric; residual directions stay 0."""
    calm = np.ones(len(expression), bool)
    for name, limit in CALM.items():
        calm &= expression[:, basis.names.index(name)] < limit
    rest = expression[calm].mean(0)
    semantic = tuple(name for name in basis.names if not name.startswith("residual"))
    count = len(semantic)
    rest[:count] = (rest[:count] + rest[name_mirror(semantic)]) / 2
    rest[count:] = 0
    return rest


def ship(folder: Path, basis: Basis, triangles: NDArray, rest: NDArray) -> None:
    """Write the model as the package loads it, float16."""
    state = {
        "mean": torch.from_numpy(basis.mean),
        "shape_basis": torch.from_numpy(basis.shape),
        "expression_basis": torch.from_numpy(basis.expression),
        "rest": torch.from_numpy(rest),
        "triangles": torch.from_numpy(triangles.astype(np.int16)),
    }
    save_weights(folder, half(state), {"expression_names": list(basis.names), "source": SOURCE})


def load_model(file: Path) -> Basis:
    with np.load(file) as raw:
        names = tuple(str(name) for name in raw["names"])
        return Basis(
            raw["mean"], raw["shape_basis"], raw["expression_basis"], names, raw["mirror"], raw["weight"]
        )


def save_params(file: Path, fitted: Fitted, labels: Labels, names: tuple[str, ...]) -> None:
    x, y, z = fitted.pose.translation.T
    np.savez(
        file,
        image=labels.image,
        shape=fitted.shape,
        expression=fitted.expression,
        rotation=Rotation.from_matrix(fitted.pose.rotation).as_rotvec().astype(np.float32),
        scale=fitted.pose.scale.astype(np.float32),
        tx=x.astype(np.float32),
        ty=(-y).astype(np.float32),
        tz=(-z).astype(np.float32),
        names=np.array(names),
        formula=FORMULA,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--assets", type=Path, default=Path("src/diffpc/assets/light_face"))
    options = parser.parse_args()
    labels = read_labels(options.data / "landmarks.npz")
    basis = learn(split(labels, options.data, "Train"))
    triangles = triangulate(open_face(basis), basis.mirror)
    save_model(options.runs / "light_model_draft.npz", basis, triangles)
    fitted = fit(basis, labels)
    ship(options.assets, basis, triangles, rest_expression(basis, fitted.expression))
    save_params(options.runs / "lfw_params.npz", fitted, labels, basis.names)
    test = split(labels, options.data, "Test")
    print(
        f"{len(triangles)} triangles, {len(basis.shape)} identity, {len(basis.names)} expression directions"
    )
    for per_person in (True, False):
        fitted = fit(basis, test, per_person)
        print(f"{len(test)} test photos, identity per {'person' if per_person else 'photo'}: "
              f"NME {nme(basis, fitted, test):.3f} %")  # fmt: skip


if __name__ == "__main__":
    main()
