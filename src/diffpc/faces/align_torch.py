"""Alignment of image batches in torch, differentiable in the pixels and the landmarks: align.py's twin."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diffpc.faces.align import ChipTemplate, supersampling
from diffpc.types import LandmarkLayout


def align_batch(
    images: Float[Tensor, "B 3 H W"],
    landmarks: Float[Tensor, "B 5 2"],
    layout: LandmarkLayout,
    template: ChipTemplate,
) -> Float[Tensor, "B 3 S S"]:
    """Cut one chip per image.

    Args:
        images: in [-1, 1]; black (-1) stands outside the image.
        landmarks: pixels of the images, in the order of `layout`.
        layout: see `diffpc.types.LandmarkLayout`.
        template: where the landmarks go.
    """
    matrices = alignment_matrices(landmarks, layout, template)
    return warp_batch(images, matrices, template.size, template.antialias)


def alignment_matrices(
    landmarks: Float[Tensor, "B 5 2"], layout: LandmarkLayout, template: ChipTemplate
) -> Float[Tensor, "B 2 3"]:
    """Return the matrices (image pixels -> chip pixels), as `align.alignment_matrix` does for one face."""
    points = torch.as_tensor(template.points[layout], dtype=landmarks.dtype, device=landmarks.device)
    if not template.dlib_rules:
        return fit_similarities(landmarks, points.expand_as(landmarks))
    to_photo = fit_similarities(points.expand_as(landmarks), landmarks)
    step = to_photo[:, :, 0].norm(dim=1).view(-1, 1, 1)
    stretch = (template.size - 1 / step) / (template.size - 1)
    centre = torch.full_like(to_photo[:, :, 2:], (template.size - 1) / 2)
    linear = to_photo[:, :, :2] * stretch
    shift = to_photo[:, :, :2] @ centre + to_photo[:, :, 2:] - linear @ centre
    return invert_matrices(torch.cat([linear, shift], dim=2))


def fit_similarities(
    source: Float[Tensor, "B N 2"], target: Float[Tensor, "B N 2"]
) -> Float[Tensor, "B 2 3"]:
    """Return the least squares similarities source -> target (see `align.fit_similarity`)."""
    mean_source, mean_target = source.mean(1), target.mean(1)
    (ax, ay), (bx, by) = (source - mean_source[:, None]).unbind(2), (target - mean_target[:, None]).unbind(2)
    power = (ax * ax + ay * ay).sum(1)
    real = (ax * bx + ay * by).sum(1) / power
    imaginary = (ax * by - ay * bx).sum(1) / power
    linear = torch.stack([real, -imaginary, imaginary, real], dim=1).view(-1, 2, 2)
    shift = mean_target[:, :, None] - linear @ mean_source[:, :, None]
    return torch.cat([linear, shift], dim=2)


def invert_matrices(matrices: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 2 3"]:
    """Return the inverse maps of similarities."""
    linear = matrices[:, :, :2]
    inverse = linear.transpose(1, 2) / linear[:, :, 0].square().sum(1).view(-1, 1, 1)
    return torch.cat([inverse, -inverse @ matrices[:, :, 2:]], dim=2)


def warp_batch(
    images: Float[Tensor, "B 3 H W"], matrices: Float[Tensor, "B 2 3"], size: int, antialias: bool
) -> Float[Tensor, "B 3 S S"]:
    """Sample size x size chips bilinearly, averaging as `align.warp` does where a chip is the coarser one.

    An image's chip does not depend on the others in the batch.
    """
    counts = [
        supersampling(matrix.numpy()) if antialias else 1 for matrix in matrices.detach().cpu().double()
    ]
    grids = invert_matrices(matrices)
    chips: list[Tensor] = [images] * len(images)
    for count in sorted(set(counts)):
        members = [index for index, own in enumerate(counts) if own == count]
        for index, chip in zip(members, _sample(images[members], grids[members], size, count), strict=True):
            chips[index] = chip
    return torch.stack(chips)


def _sample(images: Tensor, to_photo: Tensor, size: int, count: int) -> Tensor:
    """Sample count x count points per chip pixel and average them."""
    steps = torch.arange(size * count, device=to_photo.device, dtype=to_photo.dtype)
    steps = (steps - (count - 1) / 2) / count
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    photo = torch.einsum("bij,hwj->bhwi", to_photo, points)
    extent = photo.new_tensor([images.shape[3], images.shape[2]])
    # pixel i's centre is at -1 + (2 i + 1) / extent, grid_sample's frame without align_corners
    grid = (2 * photo + 1) / extent - 1
    # outside is zero, which is black once the range starts there
    samples = (
        functional.grid_sample(images + 1, grid.to(images.dtype), padding_mode="zeros", align_corners=False)
        - 1
    )
    return functional.avg_pool2d(samples, count) if count > 1 else samples
