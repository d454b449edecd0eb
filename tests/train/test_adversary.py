import pytest
import torch
from torch import nn

from diffpc.train.adversary import LevelDiscriminator, PatchDiscriminator, believed, told_apart


class Known(nn.Module):
    """Answers with what it is shown, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, values):
        return self.weight * values


def test_the_lesson_is_the_hinge_loss():
    photo, drawn = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 1.0]])
    # photos: 0 and 1 - 0.5; drawn: 0 and 1 + 1
    assert told_apart(Known(), (photo,), (drawn,)).tolist() == [pytest.approx(0.25 + 1.0)]


def test_what_is_believed_teaches_who_draws_alone():
    network, drawn = Known(), torch.tensor([[1.0, 2.0]], requires_grad=True)
    found = believed(network, (drawn,))
    assert found.tolist() == [1.5]
    found.sum().backward()
    assert network.weight.grad is None and drawn.grad.tolist() == [[0.5, 0.5]]


def test_more_than_one_thing_may_be_refused():
    photo, one, other = (torch.tensor([[value]]) for value in (2.0, 1.0, 3.0))
    assert told_apart(Known(), (photo,), (one,), (other,)).tolist() == [pytest.approx((2 + 4) / 2)]


FEATURES = (torch.randn(2, 16, 8, 8), torch.randn(2, 32, 4, 4))


@pytest.mark.parametrize(
    ("network", "shown", "places"),
    [
        (LevelDiscriminator((16, 32), 5), (FEATURES, torch.ones(2, 5)), 64 + 16),
        (PatchDiscriminator(16), (torch.randn(2, 3, 64, 64),), 14 * 14),
    ],
)
def test_discriminators_judge_place_by_place_and_begin_undecided(network, shown, places):
    found = network(*shown)
    assert found.shape == (2, places) and (found == 0).all()
    lesson = told_apart(network, shown, shown)
    lesson.sum().backward()
    assert lesson.tolist() == [2, 2]


def test_a_discriminator_learns_what_photos_of_what_is_said_look_like():
    torch.manual_seed(0)
    network = LevelDiscriminator((8,), 2, hidden=16)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    said, other = torch.eye(2).repeat(8, 1), torch.eye(2).flip(0).repeat(8, 1)
    features = (torch.randn(16, 8, 4, 4) + 2 * said.repeat(1, 4)[..., None, None],)
    for _ in range(40):
        optimiser.zero_grad()
        told_apart(network, (features, said), (features, other)).mean().backward()
        optimiser.step()
    assert network(features, said).mean() > 0.3 > -0.3 > network(features, other).mean()


def test_a_discriminator_learns_to_tell():
    torch.manual_seed(0)
    network = PatchDiscriminator(16)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    photo, drawn = torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32).cumsum(3) / 5  # fine and smooth
    for _ in range(30):
        optimiser.zero_grad()
        told_apart(network, (photo,), (drawn,)).mean().backward()
        optimiser.step()
    assert network(photo).mean() > 0.5 > -0.5 > network(drawn).mean()
