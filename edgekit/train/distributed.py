"""Data parallel training under ``torchrun``: each process takes its share of every batch, all end with equal weights.

Gradients travel in one flat message by hand rather than by ``DistributedDataParallel``: shares may be unequal or
empty, and the mean over the items of the whole batch, not over processes, is what one process alone would have
computed. The same message carries the loss. A process that is lost ends the others, by its closed connection or at the
latest after :data:`TIMEOUT`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from edgekit.errors import DataError, DeviceError

TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Workers:
    """The processes that train together, seen from one of them: number ``rank`` of ``count``, computing on ``place``.

    Every method but :meth:`share` is called by all of them, in the same order.
    """

    place: torch.device
    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, items: int) -> slice:
        """The part of a batch that is this process's: two items or more, because batch norm needs two, or none."""
        parts = max(1, min(self.count, items // 2))
        if self.rank >= parts:
            return slice(items, items)
        return slice(items * self.rank // parts, items * (self.rank + 1) // parts)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same bytes in each."""
        if self.count > 1:
            with _lost():
                distributed.all_reduce(values)
        return values

    def average(self, parameters: Sequence[nn.Parameter], loss: Tensor, weight: float) -> Tensor:
        """Make every gradient the mean over the whole batch, and return the loss averaged alike.

        Args:
            parameters: of the model; one without a gradient in any process stays without.
            loss: mean over this process's share.
            weight: of the share in the batch; the weights of all processes sum to 1.
        """
        if self.count == 1:
            return loss
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        given = torch.tensor([p.grad is not None for p in parameters], device=self.place)
        flat = torch.cat([*(gradient.flatten() * weight for gradient in gradients), loss.reshape(1) * weight, given])
        sizes = [p.numel() for p in parameters]
        *parts, mean, counts = torch.split(self.total(flat), [*sizes, 1, len(parameters)])
        for parameter, part, count in zip(parameters, parts, counts.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype) if count else None
        return mean.reshape(())

    def even_out(self, module: nn.Module) -> None:
        """Average what batch norms measured. Once an epoch is exact: they sum up linearly and read nothing meanwhile.

        The sums are in float64, in which buffers that are equal already come out unchanged.
        """
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        if self.count == 1 or not buffers:
            return
        mean = self.total(torch.cat([buffer.flatten().double() for buffer in buffers])) / self.count
        for buffer, part in zip(buffers, torch.split(mean, [buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))

    def broadcast(self, data: bytes) -> bytes:
        """What the first process gives, in every one."""
        if self.count == 1:
            return data
        size = torch.tensor([len(data)], device=self.place)
        with _lost():
            distributed.broadcast(size, 0)
            held = bytearray(data) if self.leads else bytearray(int(size))
            values = torch.frombuffer(held or bytearray(1), dtype=torch.uint8).to(self.place)
            distributed.broadcast(values, 0)
        return values.cpu().numpy().tobytes()[: int(size)]

    def gather(self, values: Tensor) -> list[Tensor]:
        """A tensor of every process, in order; their shapes are equal."""
        if self.count == 1:
            return [values]
        found = [torch.empty_like(values, device=self.place) for _ in range(self.count)]
        with _lost():
            distributed.all_gather(found, values.to(self.place))
        return [tensor.cpu() for tensor in found]

    def agree(self, key: str) -> None:
        """Refuse processes that were started for different trainings.

        Raises:
            DataError: in every one of them.
        """
        if self.count > 1 and int(self.total(torch.tensor([self.broadcast(key.encode()) != key.encode()]).int())):
            raise DataError(
                "the processes were given different options, data or weights.",
                "A model or data set of the user's own may draw random numbers without a seed.",
                "Give every process the same.",
            )


def join(place: torch.device) -> Workers:
    """The processes that ``torchrun`` started, over gloo on CPUs and nccl on GPUs; without it this one alone."""
    if not launched():
        return Workers(place)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=TIMEOUT)
        atexit.register(distributed.destroy_process_group)
    return Workers(place, distributed.get_rank(), distributed.get_world_size())


def launched() -> bool:
    """Whether this is one of several processes."""
    return distributed.is_available() and (distributed.is_initialized() or distributed.is_torchelastic_launched())


def leads() -> bool:
    """Whether this process writes and reports: the first of those that ``torchrun`` started, or the only one."""
    return not launched() or int(os.environ.get("RANK", "0")) == 0


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise DeviceError(
            "another process of this training was lost.", f"{error}", "Start again; a checkpoint is gone on with."
        ) from error
