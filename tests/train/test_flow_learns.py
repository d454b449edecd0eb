"""Whether the adapter on a transformer uses what it is told: it learns four pictures that only the conditions tell."""

import torch

from diffpc.train.flow import FlowBase, FlowParts, FlowTask
from tests.diffusion.flow.conftest import SETTINGS, new_adapter, new_scheduler, new_transformer, of
from tests.train.test_flow import samples

STEPS = 150


def pictures():
    """Two persons times two faces; the picture is the person's part and the face's part in equal shares."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2, 2, 4, 8, 8, generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(2, 1, 16, generator=generator), dim=-1)
    faces = torch.randn(2, 4, 8, 8, generator=generator)
    persons, turned = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    return {
        "z_0": parts[0][persons] + parts[1][turned],
        "vector": vectors[persons],
        "z_3d": faces[turned],
        "patches": torch.zeros(4, 7, 20),
        "text": torch.zeros(4, 5, 48),
        "pooled": torch.zeros(4, 24),
        "kept_global": torch.ones(4, dtype=torch.bool),
        "kept_local": torch.ones(4, dtype=torch.bool),
        "timestep": torch.full((4,), 999),  # noise alone: only the conditions tell
    }


def learnt(given, shuffled):
    """A task after training, told the truth or at each step another order of persons and faces."""
    transformer, generator = new_transformer(num_layers=2), torch.Generator().manual_seed(1)
    parts = new_adapter(transformer, SETTINGS)
    task = FlowTask(
        FlowBase(transformer, new_scheduler()), FlowParts(parts["id_encoder"], of(parts)), samples
    )
    trained = [one for part in parts.values() for one in part.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-3, fused=True)
    for _ in range(STEPS):
        told = {**given, "noise": torch.randn(4, 4, 8, 8, generator=generator)}
        if shuffled:
            order = torch.randperm(4, generator=generator)
            told |= {"vector": given["vector"][order], "z_3d": given["z_3d"][order]}
        optimiser.zero_grad()
        task.losses(told)["total"].mean().backward()
        optimiser.step()
    return task


@torch.no_grad()
def loss(task, given, **told):
    generator = torch.Generator().manual_seed(2)
    noises = torch.randn(8, 4, 4, 8, 8, generator=generator)
    return sum(float(task.losses({**given, **told, "noise": noise})["total"].mean()) for noise in noises) / 8


def test_four_pictures_are_learnt_from_person_and_face_together():
    """Told the truth, half the loss of a training whose conditions were shuffled; about 0.53 and 1.35."""
    given = pictures()
    true = learnt(given, shuffled=False)
    told = loss(true, given)
    assert 2 * told < loss(learnt(given, shuffled=True), given)
    for name in ("vector", "z_3d"):  # the other person, the other face
        assert 2 * told < loss(true, given, **{name: given[name].flip(0)})
