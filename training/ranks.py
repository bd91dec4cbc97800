"""Several processes that train as one: who is who, and what they tell each other."""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.checkpoint import tensors

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among ``world`` many that train together. One of them writes."""

    rank: int = 0
    world: int = 1

    @property
    def writer(self) -> bool:
        return self.rank == 0

    def mean(self, values: list[float], device: torch.device) -> list[float]:
        """The mean of each number over all processes."""
        if self.world == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(together)
        means: list[float] = (together / self.world).tolist()
        return means

    def share(self, model: nn.Module) -> None:
        """Give all processes the writer's parameters and buffers."""
        if self.world > 1:
            for tensor in tensors(model).values():
                self.broadcast(tensor.data)

    def broadcast(self, tensor: Tensor) -> None:
        """Give all processes the writer's."""
        if self.world > 1:
            dist.broadcast(tensor, src=0)

    def give(self, value: T) -> T:
        """Give all processes what the writer has: any object that can be pickled. Theirs is not looked at."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


ALONE = Ranks()


def together(wish: str | None) -> tuple[Ranks, torch.device]:
    """This process's place among those that ``torchrun`` started, if it did, and its device."""
    device = torch.device(wish or ("cuda" if torch.cuda.is_available() else "cpu"))
    if "WORLD_SIZE" not in os.environ:
        return ALONE, device
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size()), device
