"""Between pictures and the tensors of the networks: uint8 H x W x 3 <-> float 3 x H x W in [-1, 1]."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

# Not `diffpc.types.Image`: here H and W tie the result to the argument.


def to_tensor(image: UInt8[np.ndarray, "H W 3"]) -> Float[Tensor, "3 H W"]:
    """Return the picture as float32 in [-1, 1], channels first, on the CPU: 0 -> -1, 255 -> 1."""
    channels_first = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return channels_first.to(torch.float32) / 127.5 - 1.0


def to_image(tensor: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return the tensor as an RGB picture; values beyond [-1, 1] are clipped, the nearest step is taken.

    The inverse of `to_tensor`, exactly. Any float type and device.
    """
    steps = (tensor.detach().to("cpu", torch.float32).clamp(-1.0, 1.0) + 1.0) * 127.5
    return steps.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
