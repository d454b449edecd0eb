"""Processes, devices and precision: Accelerate over torch.distributed, DDP or FSDP2."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffpc.loading import DTYPES
from diffpc.train.settings import EngineSettings

SHARDED = (
    "BasicTransformerBlock",
    "JointTransformerBlock",
    "ResnetBlock2D",
    "TransformerDecoderLayer",
    "IDInjector",
    "CLIPEncoderLayer",
)
"""Classes that FSDP2 gathers and frees as units; the rest stays gathered through a step."""


EXACT = {"embedder", "critic", "teacher"}
"""Frozen networks that stay in float32: two persons' face vectors differ by less than bfloat16 can tell, a critic's
scales of values too; and a teacher is to predict what it does as a pupil."""


_GROUPS: list[object] = []
"""This process's process groups, until it ends. DDP's reducer must not be the last to let go of one: it would wait,
with Python's lock in its hands, for a thread that needs the lock (torch 2.13, gloo)."""


class Trainable(nn.Module):
    """The trained networks under one roof, as DDP and FSDP want it; a call gives the loss terms of a batch."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        for name, module in task.modules().items():
            self.add_module(name, module)
        self.losses = task.losses

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Term -> (B,)."""
        return self.losses(batch)


class Engine:
    """One process's view of the machine or machines."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        # The set of used parameters never changes: text encoders have some that no loss needs.
        handler = DistributedDataParallelKwargs(static_graph=True)
        precision = {"float32": "no", "bfloat16": "bf16"}[settings.precision]
        self.accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[handler])
        self.rank = self.accelerator.process_index
        self.world = self.accelerator.num_processes
        self.device = self.accelerator.device
        self.main = self.accelerator.is_main_process
        if self.world > 1:
            _GROUPS.append(torch.distributed.group.WORLD)

    def prepare(self, trained: Trainable, frozen: Mapping[str, nn.Module]) -> nn.Module:
        """Move everything to the device, shard or copy what is trained, compile if asked."""
        for name, module in frozen.items():
            module.requires_grad_(False)
            module.to(self.device, torch.float32 if name in EXACT else DTYPES[self.settings.precision])
        trained.to(self.device)
        if self.settings.checkpointing:
            checkpoint_activations([*trained.children(), *frozen.values()])
        if self.settings.compile:
            for module in trained.children():
                module.compile()
        if not self.whole:
            return shard(trained)
        return cast(nn.Module, self.accelerator.prepare_model(trained))

    @property
    def whole(self) -> bool:
        """Whether each process holds whole weights."""
        return self.world == 1 or self.settings.parallel == "ddp"

    def accumulating(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes with a step's last micro-batch only."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(model)

    def autocast(self) -> AbstractContextManager[None]:
        """Products in the chosen precision."""
        return self.accelerator.autocast()

    def attention(self) -> AbstractContextManager[Any]:
        """On a CPU attention in plain products, whose gradient is ten times as fast; around forward and backward."""
        return sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        return cast(Tensor, self.accelerator.reduce(values, "mean"))

    def gathered(self, messages: list[str]) -> list[str]:
        """The messages of all processes."""
        if self.world == 1:
            return messages
        found = [messages for _ in range(self.world)]
        torch.distributed.all_gather_object(found, messages)
        return [message for part in found for message in part]

    def wait(self) -> None:
        """Until all processes are here."""
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Part from the other processes."""
        self.accelerator.end_training()


def shard(model: nn.Module) -> nn.Module:
    """FSDP2, in place: blocks of the classes in SHARDED are units, the rest is one."""
    policy = MixedPrecisionPolicy()  # autocast does it, as it does without sharding
    for module in reversed(list(model.modules())):
        trained = any(parameter.requires_grad for parameter in module.parameters())
        if type(module).__name__ in SHARDED and trained:
            fully_shard(module, mp_policy=policy)
    fully_shard(model, mp_policy=policy, reshard_after_forward=False)
    return model


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be in shards; all processes must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor on the device, and in the shards, of another one."""
    value = value.to(other.device)
    if not isinstance(other, DTensor) or value.ndim == 0:
        return value
    return distribute_tensor(value, other.device_mesh, other.placements)


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a tensor, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def checkpoint_activations(modules: list[nn.Module]) -> None:
    """Networks that can compute their activations twice are told to."""
    for module in modules:
        if getattr(module, "_supports_gradient_checkpointing", False):
            cast(ModelMixin, module).enable_gradient_checkpointing()
