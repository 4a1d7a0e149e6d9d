"""One layer of a GRU or LSTM in float, with a name for every quantity that the integer layer rounds.

The step is written once. ``at(name, value)`` sees each quantity on its way: it may quantise it (the composites with
``scales``), write it down (calibration) or leave it alone. The names stand in the order of ``scales``.

Layout: everything over time is [T, N, H]; gates stand in torch's order, r z n and i f g o. The parts of the gates that
depend on the input, ``W x + b``, are ready; only the recurrent parts are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from edgekit.errors import UsageError

At = Callable[[str, Tensor], Tensor]
Tensors = Sequence[Tensor]

GRU_QUANTITIES = (
    "h",  # state and result
    "hidden_r",  # recurrent parts of the gates, W h + b
    "hidden_z",
    "hidden_n",
    "sum_r",  # what the sigmoid takes: input part + recurrent part
    "sum_z",
    "r",  # the gates
    "z",
    "reset",  # r * hidden_n
    "sum_n",  # what the tanh takes
    "n",  # the candidate
    "one_minus_z",
    "new",  # (1 - z) * n
    "old",  # z * h
)
LSTM_QUANTITIES = (
    "h",  # state and result
    "c",  # the cell: 16 bits, its scale is max / 32767; all others have 8
    "hidden_i",  # recurrent parts of the gates, W h + b
    "hidden_f",
    "hidden_g",
    "hidden_o",
    "sum_i",  # what sigmoid and tanh take: input part + recurrent part
    "sum_f",
    "sum_g",
    "sum_o",
    "i",  # the gates
    "f",
    "g",
    "o",
    "cell",  # the cell again, in the 8 bits that its tanh takes
    "tanh_cell",
)
S16_QUANTITIES = ("c",)


def unseen(name: str, value: Tensor) -> Tensor:  # noqa: ARG001
    """Leave every quantity alone: the float layer."""
    return value


def gru_step(parts: Tensors, h: Tensor, weights: Tensors, biases: Tensors, at: At) -> Tensor:
    """The next state of a GRU, Cho et al. 2014 as in ``torch.nn.GRU``, from parts r z n and state [..., N, H]."""
    hidden = [at(f"hidden_{k}", linear(h, w, b)) for k, w, b in zip("rzn", weights, biases, strict=True)]
    r = at("r", torch.sigmoid(at("sum_r", parts[0] + hidden[0])))
    z = at("z", torch.sigmoid(at("sum_z", parts[1] + hidden[1])))
    n = at("n", torch.tanh(at("sum_n", parts[2] + at("reset", r * hidden[2]))))
    return at("h", at("new", at("one_minus_z", 1 - z) * n) + at("old", z * h))


def lstm_gates(parts: Tensors, h: Tensor, weights: Tensors, biases: Tensors, at: At) -> list[Tensor]:
    """Gates i f g o of an LSTM from their parts and state [..., N, H]."""
    hidden = [at(f"hidden_{k}", linear(h, w, b)) for k, w, b in zip("ifgo", weights, biases, strict=True)]
    sums = [at(f"sum_{k}", part + rest) for k, part, rest in zip("ifgo", parts, hidden, strict=True)]
    return [
        at(k, torch.tanh(total) if k == "g" else torch.sigmoid(total)) for k, total in zip("ifgo", sums, strict=True)
    ]


def lstm_step(parts: Tensors, h: Tensor, c: Tensor, weights: Tensors, biases: Tensors, at: At) -> tuple[Tensor, Tensor]:
    """The next state and cell of an LSTM, Hochreiter and Schmidhuber 1997 as in ``torch.nn.LSTM``."""
    i, f, g, o = lstm_gates(parts, h, weights, biases, at)
    c = at("c", f * c + i * g)
    return at("h", o * at("tanh_cell", torch.tanh(at("cell", c)))), c


def order(steps: int, reverse: bool) -> range:
    """The steps of time in the order in which they are taken; refuses a sequence without any."""
    if steps < 1:
        raise UsageError("a recurrent layer needs at least one step of time.")
    return range(steps - 1, -1, -1) if reverse else range(steps)


def states_before(y: Tensor, h0: Tensor, reverse: bool) -> Tensor:
    """The state that each step began with, [T, N, H], from the results of a finished run."""
    return torch.cat([y[1:], h0[None]] if reverse else [h0[None], y[:-1]])


def gru_quantities(
    parts: Tensors, h0: Tensor, weights: Tensors, biases: Tensors, reverse: bool, y: Tensor
) -> dict[str, Tensor]:
    """Every quantity of a finished float run over all of time, in the order of ``GRU_QUANTITIES``, without a loop.

    Args:
        parts: r, z, n, float32 [T, N, H].
        h0: [N, H].
        weights, biases: of the recurrent parts, [H, H] and [H] for each gate.
        reverse: the run went from the last step to the first.
        y: its result, [T, N, H].
    """
    found: dict[str, Tensor] = {}
    gru_step(parts, states_before(y, h0, reverse), weights, biases, _into(found))
    found["h"] = torch.cat([h0[None], y])
    return {name: found[name] for name in GRU_QUANTITIES}


def lstm_quantities(
    parts: Tensors, h0: Tensor, c0: Tensor, weights: Tensors, biases: Tensors, reverse: bool, y: Tensor
) -> dict[str, Tensor]:
    """The same in the order of ``LSTM_QUANTITIES``; only the cell, elementwise, is carried through time."""
    found: dict[str, Tensor] = {}
    i, f, g, _ = lstm_gates(parts, states_before(y, h0, reverse), weights, biases, _into(found))
    cells = [c0]
    for t in order(len(y), reverse):
        cells.append(f[t] * cells[-1] + i[t] * g[t])
    found["h"], found["c"] = torch.cat([h0[None], y]), torch.stack(cells)
    found["cell"] = found["c"][1:]
    found["tanh_cell"] = torch.tanh(found["cell"])
    return {name: found[name] for name in LSTM_QUANTITIES}


def _into(found: dict[str, Tensor]) -> At:
    def at(name: str, value: Tensor) -> Tensor:
        found[name] = value
        return value

    return at
