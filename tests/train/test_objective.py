import torch

from diffpc.train.objective import face_windows
from tests.train.test_adapter import CORNERS


def test_a_window_is_cut_around_the_face():
    """CORNERS have their mean at (64, 64) pixels: latent 8, so a window of 4 begins at 6, that is pixel 48."""
    clean = torch.arange(256.0).view(1, 1, 16, 16)
    windows, landmarks = face_windows(clean, CORNERS[None], 4, 8)
    assert torch.equal(windows[0, 0], clean[0, 0, 6:10, 6:10])
    assert torch.equal(landmarks, CORNERS[None] - 48)
    windows, landmarks = face_windows(clean, CORNERS[None] + 100, 4, 8)  # at the edge
    assert torch.equal(windows[0, 0], clean[0, 0, 12:, 12:])
    assert torch.equal(landmarks, CORNERS[None] + 100 - 96)


def test_without_a_side_or_with_one_too_large_all_is_left_as_it_is():
    clean = torch.arange(256.0).view(1, 1, 16, 16)
    for side in (None, 16, 20):
        windows, landmarks = face_windows(clean, CORNERS[None], side, 8)
        assert torch.equal(windows, clean) and torch.equal(landmarks, CORNERS[None])
