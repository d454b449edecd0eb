"""A face over time: parameters of several frames, averaged where averages mean something.

Rotations are averaged as matrices: the weighted sum's nearest rotation (the chordal mean; Hartley et al., "Rotation
averaging", IJCV 2013), which knows no wrap. Scale and place are averaged in pixels of the frame, since every frame's
crop is another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.face3d.flame import axis_angle_to_matrix
from diffpc.face3d.pose import matrix_to_axis_angle
from diffpc.types import Crop, FaceParams

REACH = 3
"""Of the Gaussian, in standard deviations."""


def recropped(params: FaceParams, crop: Crop) -> FaceParams:
    """The same face in the same place of its frame, its camera told in another crop."""
    scale, x, y = _in_frame(params)
    return _from_frame(params, crop, (scale, x, y))


def mean_params(faces: Sequence[FaceParams], weights: Sequence[float]) -> FaceParams:
    """The weighted mean of expression, pose and place; shape and frame are the first face's.

    Args:
        faces: of one model and one frame size; nearer than half a turn to each other.
        weights: one per face, positive; their sum does not matter.
    """
    share = torch.tensor(weights, dtype=torch.float64)
    share = share / share.sum()
    places = torch.tensor([_in_frame(one) for one in faces], dtype=torch.float64)
    # Scales are averaged by their logarithms: half and double lie alike far from 1.
    scale = math.exp(float(share @ places[:, 0].log()))
    x, y = (share @ places[:, 1:]).tolist()
    first = faces[0]
    mixed = replace(
        first,
        expression=_mean([one.expression for one in faces], share),
        eyelid=_mean([one.eyelid for one in faces], share),
        jaw=_mean_rotation([one.jaw for one in faces], share) if len(first.jaw) else first.jaw,
        rotation=_mean_rotation([one.rotation for one in faces], share),
    )
    return _from_frame(mixed, whole_frame(first.frame), (scale, x, y))


def smoothed(faces: Sequence[FaceParams | None], sigma: float) -> list[FaceParams | None]:
    """A Gaussian of `sigma` frames over expression, pose and place; 0 changes nothing. None stays None.

    It looks both ways, so that nothing comes late.
    """
    if sigma == 0:
        return list(faces)
    reach = math.ceil(REACH * sigma)
    result: list[FaceParams | None] = []
    for at, face in enumerate(faces):
        near = [other for other in range(max(0, at - reach), at + reach + 1) if other < len(faces)]
        known = [
            (one, math.exp(-0.5 * ((other - at) / sigma) ** 2)) for other in near if (one := faces[other])
        ]
        result.append(mean_params(*map(list, zip(*known, strict=True))) if face else None)
    return result


def filled(faces: Sequence[FaceParams | None], longest: int) -> list[FaceParams | None]:
    """Gaps of up to `longest` frames between two faces are bridged in even steps; others stay."""
    result = list(faces)
    known = [at for at, one in enumerate(faces) if one]
    for before, after in pairwise(known):
        first, second = faces[before], faces[after]
        if first is None or second is None or after - before - 1 > longest:
            continue
        for at in range(before + 1, after):
            share = (at - before) / (after - before)
            result[at] = mean_params([first, second], [1 - share, share])
    return result


def whole_frame(frame: tuple[int, int]) -> Crop:
    """The largest centred square of a frame, pixel for pixel."""
    side = min(frame)
    return Crop(((frame[0] - 1) / 2, (frame[1] - 1) / 2), float(side - 1), side)


def _in_frame(params: FaceParams) -> tuple[float, float, float]:
    """Pixels per unit of the model, and where its origin lies in the frame: x = scale * X + x0, y = y0 - scale * Y."""
    scale, x, y = params.camera.double().tolist()
    crop = params.crop
    pixels = scale * crop.resolution / 2 * crop.size / (crop.resolution - 1)
    return pixels, crop.centre[0] + pixels * x, crop.centre[1] - pixels * y


def _from_frame(params: FaceParams, crop: Crop, place: tuple[float, float, float]) -> FaceParams:
    """The inverse of `_in_frame`."""
    pixels, x, y = place
    scale = pixels * 2 / crop.resolution * (crop.resolution - 1) / crop.size
    camera = torch.tensor([scale, (x - crop.centre[0]) / pixels, (crop.centre[1] - y) / pixels])
    return replace(params, camera=camera, crop=crop)


def _mean(values: Sequence[Float[Tensor, " n"]], share: Float[Tensor, " faces"]) -> Float[Tensor, " n"]:
    return (share @ torch.stack(list(values)).double()).float()


def _mean_rotation(
    values: Sequence[Float[Tensor, " 3"]], share: Float[Tensor, " faces"]
) -> Float[Tensor, " 3"]:
    matrices = axis_angle_to_matrix(torch.stack(list(values)).double())
    left, _, right = torch.linalg.svd(torch.einsum("n,nij->ij", share, matrices))
    handed = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(left @ right))], dtype=torch.float64))
    return matrix_to_axis_angle(left @ handed @ right).float()
