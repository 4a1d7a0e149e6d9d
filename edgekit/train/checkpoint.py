"""Exact resume: a training that was killed goes on from its last checkpoint and ends in the same bytes.

A checkpoint is one safetensors file, JSON in its metadata, in a directory that is whole or absent; nothing in it is
code. It belongs to one training: its key is a hash of everything that decides the outcome.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_bytes
from torch import Tensor

from edgekit import __version__, disk, journal
from edgekit.data import Split
from edgekit.errors import IntegrityError
from edgekit.graph import Graph, save
from edgekit.train.distributed import Workers
from edgekit.train.state import State

FORMAT = 1
EVERY_SECONDS = 5.0  # at most so often: short epochs would otherwise spend their time waiting for the disk
FILE = "state.safetensors"


@dataclass
class Checkpoint:
    """The place of a training's checkpoint, or none (``folder`` None)."""

    folder: Path | None
    key: str
    workers: Workers
    written: float = field(default_factory=time.monotonic)

    def resume(self, state: State) -> None:
        """Set ``state``, and this process's random numbers, to the last checkpoint, if there is one for this key.

        Raises:
            IntegrityError: a file that was written for this key holds something else.
        """
        data = self.workers.broadcast(self._read())
        if not data:
            return
        try:
            tensors, document = tensors_of(data), _metadata(data)
            state.unpack(tensors, document)
            _set_random(tensors[f"random.{self.workers.rank}"], self.workers.place)
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise IntegrityError(
                f"the checkpoint in {self.folder} is not what was written: {type(error).__name__}: {error}.",
                fix="Delete the directory; training starts over.",
            ) from error

    def write(self, state: State) -> None:
        """Write the state after an epoch, unless the last one was written just before."""
        random = self.workers.gather(_random(self.workers.place)) if self.workers.count > 1 or self.folder else []
        if self.folder is None or time.monotonic() - self.written < EVERY_SECONDS:
            return
        tensors, document = state.pack()
        tensors |= {f"random.{rank}": values for rank, values in enumerate(random)}
        metadata = {"edgekit.training": json.dumps({"format": FORMAT, **document}, allow_nan=False)}
        with disk.commit(self.folder / "last", self.key) as fresh:
            disk.write_file(fresh / FILE, to_bytes(tensors, metadata))
        self.written = time.monotonic()

    def _read(self) -> bytes:
        if self.folder is None or not (self.folder / "last").exists():
            return b""
        done, why = disk.examine(self.folder / "last", self.key)
        if done is None:
            warnings.warn(f"training starts over: {why}", RuntimeWarning, stacklevel=4)
            return b""
        return (self.folder / "last" / FILE).read_bytes()


@contextmanager
def keep(path: Path | None, key: str, workers: Workers) -> Iterator[Checkpoint]:
    """Claim a directory for the checkpoint of a training; it is removed when the block ends without an error.

    Raises:
        OutputError: another process uses it, or it holds something else.
    """
    if path is None or not workers.leads:
        yield Checkpoint(None, key, workers)
        return
    with disk.run_directory(path, resume=True) as folder:
        yield Checkpoint(folder, key, workers)
        shutil.rmtree(folder, ignore_errors=True)


def identify(graphs: Sequence[Graph | None], splits: Sequence[Split | None], **values: Any) -> str:
    """A hash of everything that decides how a training ends.

    Args:
        graphs: the one to train, as it is before, and its teacher.
        splits: training and validation items.
        values: options and seeds, as plain JSON values.
    """
    hashes = [hashlib.sha256(save.serialise(graph)).hexdigest() if graph is not None else None for graph in graphs]
    versions = [__version__, torch.__version__, np.__version__, FORMAT]
    data = [_digest(split) if split is not None else None for split in splits]
    threads = torch.get_num_threads()  # sums depend on how they are cut
    return journal.digest({**values, "graphs": hashes, "data": data, "versions": versions, "threads": threads})


def _digest(split: Split) -> str:
    hasher = hashlib.sha256()
    arrays: tuple[NDArray[Any], ...] = (*split.inputs, *split.targets)
    for array in arrays:
        hasher.update(f"{array.dtype}{array.shape}".encode())
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()


def _metadata(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    document = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["edgekit.training"])
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}")
    return dict(document)


def _random(place: torch.device) -> Tensor:
    """The state of torch's random numbers: the CPU's and, where it is used, the GPU's behind it."""
    states = [torch.get_rng_state()]
    if place.type == "cuda":
        states.append(torch.cuda.get_rng_state(place))
    return torch.cat(states)


def _set_random(state: Tensor, place: torch.device) -> None:
    size = torch.get_rng_state().numel()
    torch.set_rng_state(state[:size])
    if place.type == "cuda":
        torch.cuda.set_rng_state(state[size:], place)
