"""One process or several (`torchrun`), one device each; the training code does not see which.

The global batch is the same however many processes share it, so the loss curve is too.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from engines.errors import UsageError

Value = TypeVar("Value")
DeviceChoice = Literal["auto", "cpu", "cuda"]

# Rank 0 collects patches alone before the others have anything to do.
_PATIENCE = datetime.timedelta(hours=12)


@dataclass(frozen=True)
class Ranks:
    """This process among `world`; `rank` 0 is the one that reads clips and writes files."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True in the process that reads clips and writes files."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """(rank, world), as the patch store takes it."""
        return self.rank, self.world

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all processes, the same on each."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def minimum(self, values: Tensor) -> Tensor:
        """Elementwise minimum of a tensor over all processes, the same on each."""
        if self.world > 1:
            distributed.all_reduce(values, op=distributed.ReduceOp.MIN)
        return values

    def share(self, value: Value) -> Value:
        """Rank 0's value (anything that pickles), on every process."""
        if self.world == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Return when every process is here."""
        if self.world > 1:
            distributed.barrier()

    def wrap(self, module: nn.Module) -> nn.Module:
        """Average gradients over the processes; a module as it is where there is only one."""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)


def single(device: DeviceChoice = "auto") -> Ranks:
    """One process, on the GPU if there is one and `device` does not say otherwise.

    Raises:
        UsageError: `device` is "cuda" and there is none.
    """
    return Ranks(rank=0, world=1, device=_device(device, 0))


@contextlib.contextmanager
def open_ranks(*, threads: int, device: DeviceChoice = "auto") -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, or be the only one.

    Args:
        threads: CPU threads of this machine, divided among its processes.
        device: "auto" takes the GPU of this process' number where there is one.

    Raises:
        UsageError: `device` is "cuda" and there is none.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    torch.set_num_threads(max(1, threads // local_world))
    if world == 1:
        yield single(device)
        return
    chosen = _device(device, local_rank)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Ranks(rank=distributed.get_rank(), world=world, device=chosen)
    finally:
        distributed.destroy_process_group()


def _device(choice: DeviceChoice, local_rank: int) -> torch.device:
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise UsageError(
            "--device cuda was asked for, but PyTorch finds no GPU",
            mend="use --device cpu, or install a PyTorch with CUDA",
        )
    if choice == "cpu" or not available:
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())
