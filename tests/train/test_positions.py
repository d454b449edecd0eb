from itertools import islice

import torch

from diffpc.train.positions import Samples, Share, generator_at, loader
from tests.train.toy import ToyTask


def positions(start, batch, world, pieces, steps):
    """Per step, the positions of all processes in order."""
    shares = [iter(Share(start, batch, rank, world, pieces)) for rank in range(world)]
    return [[at for share in shares for part in islice(share, pieces) for at in part] for _ in range(steps)]


def test_random_choices_depend_on_seed_and_position():
    def drawn(seed, position):
        return torch.rand(4, generator=generator_at(seed, position)).tolist()

    assert drawn(0, 32) == drawn(0, 32)
    assert drawn(0, 32) != drawn(0, 64) and drawn(0, 32) != drawn(1, 32)
    assert drawn(1, 0) != drawn(0, 1_000_003)


def test_every_sharing_covers_the_same_batches():
    wanted = [list(range(24, 36)), list(range(36, 48))]
    for world, pieces in ((1, 1), (2, 1), (3, 2), (1, 4)):
        assert positions(24, 12, world, pieces, 2) == wanted


def test_micro_batches_of_one_process():
    assert list(islice(Share(0, 8, 1, 2, 2), 3)) == [[4, 5], [6, 7], [12, 13]]


def test_batches_hold_the_samples_of_their_positions():
    samples = ToyTask().samples(3)
    assert isinstance(samples, Samples)
    batch = next(loader(samples, Share(8, 4, 1, 2, 1), workers=0, pin=False))
    assert batch["position"].tolist() == [10, 11]
    assert torch.equal(batch["inputs"][1], samples[11]["inputs"])
    assert samples.key(11) == f"number {samples[11]['inputs'][0]:.3f}"
