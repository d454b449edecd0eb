"""What the switches of the engine change, and what not; several processes are in test_loop."""

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import default_collate

from diffpc.train.engine import Engine, Trainable, shard
from diffpc.train.settings import EngineSettings, IdentityLoss
from tests.diffusion.flow.conftest import new_adapter, new_transformer
from tests.train.test_adapter import samples, task
from tests.train.toy import ToyTask

pytestmark = pytest.mark.usefixtures("other_precision")


def gradients(settings, weight=0.1, pairs=2):
    """Loss and gradients of some pairs, prepared by an engine, with awake injectors."""
    made = task(IdentityLoss(weight=weight), awake=True)
    engine = Engine(settings)
    trained = Trainable(made)
    model = engine.prepare(trained, made.frozen())
    batch = default_collate([samples(0)[position] for position in range(pairs)])
    with engine.autocast():
        total = model(batch)["total"].mean()
    engine.accelerator.backward(total)
    found = {name: value.grad for name, value in trained.named_parameters() if value.grad is not None}
    return made, total.item(), found


@pytest.fixture(scope="module")
def plain():
    AcceleratorState._reset_state()
    return gradients(EngineSettings())


def test_computing_activations_twice_changes_nothing(plain):
    _, total, found = gradients(EngineSettings(checkpointing=True))
    assert total == plain[1]
    assert found.keys() == plain[2].keys()
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in plain[2].items())


def test_in_bfloat16_the_frozen_are_narrow_and_the_trained_are_not():
    plain = gradients(EngineSettings(), weight=0.0, pairs=1)
    AcceleratorState._reset_state()
    made, total, found = gradients(EngineSettings(precision="bfloat16"), weight=0.0, pairs=1)
    assert total == pytest.approx(plain[1], rel=0.02)
    assert {value.dtype for value in made.frozen()["embedder"].parameters()} == {torch.float32}
    assert {value.dtype for value in made.backbone.unet.parameters()} == {torch.bfloat16}
    assert {value.dtype for module in made.modules().values() for value in module.parameters()} == {
        torch.float32
    }
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in found.values())
    first, second = (torch.cat([part[name].flatten() for name in plain[2]]) for part in (found, plain[2]))
    assert torch.nn.functional.cosine_similarity(first, second, dim=0) > 0.98


def test_what_is_compiled_learns_the_same():
    torch.manual_seed(0)
    batch = default_collate([ToyTask().samples(0)[position] for position in range(4)])
    totals = []
    for compiled in (False, True):
        toy = ToyTask()
        trained = Trainable(toy)
        model = Engine(EngineSettings(compile=compiled)).prepare(trained, toy.frozen())
        totals.append(model(batch)["total"])
        assert (toy.network._compiled_call_impl is not None) == compiled
    assert torch.allclose(totals[0], totals[1], atol=1e-6)


@pytest.fixture
def alone():
    """A process group of this process."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_the_blocks_of_a_transformer_are_gathered_one_by_one(alone):
    control = new_adapter(new_transformer())["id_ctrl"]
    blocks = list(control.transformer_blocks)
    shard(control)
    assert len(blocks) == 2 and all(isinstance(block, FSDPModule) for block in blocks)
    assert not any(isinstance(part, FSDPModule) for block in blocks for part in block.children())


def test_attention_is_plain_on_a_cpu_and_afterwards_as_before():
    engine, before = Engine(EngineSettings()), torch.backends.cuda.flash_sdp_enabled()
    with engine.attention():
        assert torch.backends.cuda.math_sdp_enabled() and not torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled() == before
