"""From a float recurrent layer and the scales of its quantities to the arguments of ``gru_s8`` and ``lstm_s8``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from edgekit.errors import NumericsError
from edgekit.ops import gru_s8, lstm_s8, numerics
from edgekit.ops.recurrent import GRU_QUANTITIES, LSTM_QUANTITIES

Tensors = Sequence[Tensor]
Scales = dict[str, Tensor]


class Arguments(NamedTuple):
    """What follows the states in the call of an integer layer, in its order; then comes ``reverse``."""

    weight: Tensor
    bias: Tensor
    multiplier: Tensor
    tables: Tensor
    ratios: Tensor


def gru_arguments(
    scales: Tensor, input_scales: Tensors, weights: Tensors, biases: Tensors, weight_scales: Tensors | None = None
) -> Arguments:
    """The recurrent part of a GRU in integers.

    Args:
        scales: float32, in the order of ``GRU_QUANTITIES``.
        input_scales: of the input parts r, z, n, one value each.
        weights, biases: recurrent, float32 [H, H] and [H] for each gate.
        weight_scales: float32 [H] for each gate, where the weights have theirs already; made by ``weight_scale`` else.

    Raises:
        NumericsError: where a ratio of two scales is not one that the integer layer takes.
    """
    s = _named(GRU_QUANTITIES, scales)
    tables = [
        numerics.table(torch.sigmoid, s["sum_r"], s["r"]),
        numerics.table(torch.sigmoid, s["sum_z"], s["z"]),
        numerics.table(torch.tanh, s["sum_n"], s["n"]),
        numerics.table(lambda z: 1 - z, s["z"], s["one_minus_z"]),
    ]
    r, z, n = input_scales
    ratios = gru_s8.Ratios(
        input_r=numerics.add_ratio(r, s["sum_r"]),
        hidden_r=numerics.add_ratio(s["hidden_r"], s["sum_r"]),
        input_z=numerics.add_ratio(z, s["sum_z"]),
        hidden_z=numerics.add_ratio(s["hidden_z"], s["sum_z"]),
        reset=_product(s["r"], s["hidden_n"], s["reset"]),
        input_n=numerics.add_ratio(n, s["sum_n"]),
        reset_n=numerics.add_ratio(s["reset"], s["sum_n"]),
        new=_product(s["one_minus_z"], s["n"], s["new"]),
        old=_product(s["z"], s["h"], s["old"]),
        new_h=numerics.add_ratio(s["new"], s["h"]),
        old_h=numerics.add_ratio(s["old"], s["h"]),
    )
    linear = _linear(s, "rzn", weights, biases, weight_scales)
    return Arguments(*linear, torch.stack(tables), ratios.tensor())


def lstm_arguments(
    scales: Tensor, input_scales: Tensors, weights: Tensors, biases: Tensors, weight_scales: Tensors | None = None
) -> Arguments:
    """The recurrent part of an LSTM in integers; as :func:`gru_arguments`, gates i f g o."""
    s = _named(LSTM_QUANTITIES, scales)
    tables = [numerics.table(torch.tanh if k == "g" else torch.sigmoid, s[f"sum_{k}"], s[k]) for k in "ifgo"]
    sums = {}
    for k, part in zip("ifgo", input_scales, strict=True):
        sums[f"input_{k}"] = numerics.add_ratio(part, s[f"sum_{k}"])
        sums[f"hidden_{k}"] = numerics.add_ratio(s[f"hidden_{k}"], s[f"sum_{k}"])
    forget, write = _product(s["f"], s["c"], s["c"]), _product(s["i"], s["g"], s["c"])
    if min(forget, write) < lstm_s8.LEAST_CELL_RATIO:
        raise NumericsError(
            f"the cell of an LSTM is written with ratios {forget:g} and {write:g}, the least is 2^-15.",
            fix="A gate is closed all the time: prune the layer, or keep it in float.",
        )
    ratios = lstm_s8.Ratios(
        **sums,
        forget=forget,
        write=write,
        squash=float(numerics.divide(s["c"], s["cell"])),
        output=_product(s["o"], s["tanh_cell"], s["h"]),
        cell_scale=float(s["c"]),
    )
    linear = _linear(s, "ifgo", weights, biases, weight_scales)
    return Arguments(
        *linear, torch.stack([*tables, numerics.table(torch.tanh, s["cell"], s["tanh_cell"])]), ratios.tensor()
    )


def _named(names: tuple[str, ...], scales: Tensor) -> Scales:
    numerics.check_scale(scales, "scales of a recurrent layer")
    return dict(zip(names, scales.unbind(), strict=True))


def _product(a: Tensor, b: Tensor, output_scale: Tensor) -> float:
    return float(numerics.divide(a * b, output_scale, "ratio of a product"))


def _linear(
    s: Scales, gates: str, weights: Tensors, biases: Tensors, weight_scales: Tensors | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and multiplier of all gates, one below the other."""
    h = s["h"]
    made = [numerics.weight_scale(w, b, h) for w, b in zip(weights, biases, strict=True)]
    steps = list(weight_scales) if weight_scales is not None else made
    weight = [numerics.quantize(w.detach(), sw, 0, -numerics.WEIGHT_MAX) for w, sw in zip(weights, steps, strict=True)]
    bias = [numerics.quantize_bias(b, h, sw) for b, sw in zip(biases, steps, strict=True)]
    multiplier = [numerics.multiplier(h, sw, s[f"hidden_{k}"]) for k, sw in zip(gates, steps, strict=True)]
    return torch.cat(weight), torch.cat(bias), torch.cat(multiplier)
