"""A net together with inputs that it takes, so that tests and benchmarks need not know either."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgekit.models.build import create
from edgekit.models.catalogue import check, find


def example_inputs(name: str, batch: int = 2, seed: int = 0, **kwargs: Any) -> tuple[Tensor, ...]:
    """Random inputs of a net, on the CPU; torch's global generator is left alone.

    They show what a net takes and how long it needs; they are no data to calibrate with.

    Args:
        name: of a net that ships.
        batch: first dimension of each input.
        seed: of the values.
        kwargs: arguments of the net, and sizes that it leaves open (``size`` of images, ``length`` of series).

    Raises:
        ModelError: there is no such net, or neither net nor inputs have such an argument.
    """
    entry = find(name)
    values = {**entry.defaults, **entry.sizes}
    check(name, kwargs, values)
    generator = torch.Generator("cpu").manual_seed(seed)
    return tuple(read.draw({**values, **kwargs}, batch, generator) for read in entry.reads)


def example(name: str, batch: int = 2, seed: int = 0, **kwargs: Any) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The net and inputs for it, arguments as in :func:`example_inputs`.

    ``example(name, **MODELS[name].small)`` keeps the structure of the net and is quick.
    """
    inputs = example_inputs(name, batch, seed, **kwargs)
    own = find(name).defaults
    return create(name, **{key: value for key, value in kwargs.items() if key in own}), inputs
