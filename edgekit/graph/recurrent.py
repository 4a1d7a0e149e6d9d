"""Shapes of recurrent layers at once, where torch would walk through every step of time to find them.

Export and shape propagation run on fake tensors, which have shapes and no values. For a GRU or LSTM torch takes its
decomposition there: some twenty operators for each step, a minute for a hundred steps. The shape of the result does
not need them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._subclasses.fake_tensor import FakeTensor

aten = torch.ops.aten
RECURRENT = (aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input)
_KEYS = (DispatchKey.Autograd, DispatchKey.CompositeImplicitAutograd)


@contextmanager
def shapes_at_once() -> Iterator[None]:
    """Let recurrent layers on fake tensors give empty results of the right shape while the block runs."""
    with ExitStack() as stack:
        for operator in RECURRENT:
            for key in _KEYS:
                stack.enter_context(_replaced(operator, key))
        yield


@contextmanager
def _replaced(operator: Any, key: DispatchKey) -> Iterator[None]:
    before = operator.py_kernels.get(key)
    if before is None:  # a torch that has no decomposition needs no shortcut
        yield
        return
    operator.py_kernels[key] = _shortcut(before)
    operator._dispatch_cache.clear()
    try:
        yield
    finally:
        operator.py_kernels[key] = before
        operator._dispatch_cache.clear()


def _shortcut(before: Callable[..., Any]) -> Callable[..., Any]:
    def result(
        values: Tensor, hx: Tensor | Sequence[Tensor], params: Sequence[Tensor], biases: bool, *rest: Any
    ) -> tuple[Tensor, ...]:
        if not isinstance(values, FakeTensor):
            given: tuple[Tensor, ...] = before(values, hx, params, biases, *rest)
            return given
        states = [hx] if isinstance(hx, Tensor) else list(hx)
        directions = 2 if rest[3] else 1  # num_layers, dropout, train, bidirectional, batch_first
        width = params[1].shape[1]  # of the recurrent weights: the hidden or the projected size
        output = values.new_empty((*values.shape[:2], directions * width))
        return (output, *(state.new_empty(state.shape) for state in states))

    return result
