"""Operators that move bytes, each alone behind a convolution or linear: what it becomes, and that no byte is lost."""

from __future__ import annotations

import lowering
import pytest
import torch
from lowering import Case, Layers, Table
from quantised import conv
from torch import Tensor
from torch.nn import functional


def image(operators: str, function: object, shape: tuple[int, ...] = (4, 8, 6)) -> Case:
    """Behind a convolution."""

    def net(layers: Layers, x: Tensor) -> object:
        return function(layers["a"](x))  # type: ignore[operator]

    return Case(net, f"conv2d_s8 {operators}".strip(), lambda: {"a": conv(4, 4)}, shape)


ROWS = torch.tensor([2, 0, 1])
CASES = {
    "slices": image("slice slice cat", lambda x: torch.cat([x[:, :, 4:], x[:, :, :4]], 2)),
    "slice with a step": image("slice", lambda x: x[:, :, 1::2]),
    "split": image("slice slice cat", lambda x: torch.cat(list(reversed(x.split(2, 1))), 1)),
    "chunk": image("slice slice cat", lambda x: torch.cat(list(reversed(x.chunk(2, -1))), -1)),
    "unbind and stack": image("select select reshape reshape cat", lambda x: torch.stack(x.unbind(1)[:2], -1)),
    "select": image("select", lambda x: x.select(-2, -1)),
    "roll": image("roll", lambda x: x.roll((1, -2), (2, 3))),
    "flip": image("flip", lambda x: x.flip(2, 3)),
    "shuffle of pixels": image("pixel_shuffle", lambda x: functional.pixel_shuffle(x, 2)),
    "shuffle back": image("pixel_unshuffle", lambda x: functional.pixel_unshuffle(x, 2)),
    "shuffle of channels": image("channel_shuffle", lambda x: functional.channel_shuffle(x, 2)),
    "index_select": image("index_select", lambda x: x.index_select(2, ROWS)),
    "index": image("index", lambda x: x[:, :, ROWS]),
    "two indices": image("index", lambda x: x[:, :, ROWS, ROWS]),
    "gather": image("expand gather", lambda x: x.gather(2, ROWS.view(1, 1, 3, 1).expand(x.shape[0], 4, 3, 6))),
    "expand": image("slice expand", lambda x: x[:, :1].expand(-1, 5, -1, -1)),
    "expand to another": image("slice expand_as", lambda x: x[:, :1].expand_as(x)),
    "repeat": image("repeat", lambda x: x.repeat(1, 2, 1, 1)),
    "tile": image("tile", lambda x: x.tile(1, 1, 2, 1)),
    "repeat each": image("repeat_interleave", lambda x: x.repeat_interleave(2, 1)),
    "transpose": image("transpose", lambda x: x.mT),
    "permute": image("permute", lambda x: x.movedim(1, -1)),
    "reshape": image("reshape", lambda x: x.reshape(-1, 2, 2, 48)),
    "flatten": image("flatten", lambda x: x.flatten(1)),
    "triangle": image("tril", lambda x: x.tril()),
    "pad with a number": image("constant_pad_nd", lambda x: functional.pad(x, (1, 2, 2, 1), value=0.3)),
    "pad by cutting": image("constant_pad_nd", lambda x: functional.pad(x, (-1, 2))),
    "pad by reflection": image("pad", lambda x: functional.pad(x, (1, 2, 2, 1), mode="reflect")),
    "pad by the edge": image("pad", lambda x: functional.pad(x, (1, 2, 2, 1), mode="replicate")),
    "pad in a circle": image("pad", lambda x: functional.pad(x, (1, 2, 2, 1), mode="circular")),
    "pad a line": image("flatten pad", lambda x: functional.pad(x.flatten(2), (1, 2), mode="reflect")),
    "nearest": image("view upsample_nearest2d view", lambda x: functional.interpolate(x, scale_factor=2)),
    "nearest, shrinking": image("view upsample_nearest2d view", lambda x: functional.interpolate(x, size=(3, 4))),
    "nearest, exact": image(
        "view _upsample_nearest_exact2d view", lambda x: functional.interpolate(x, scale_factor=2, mode="nearest-exact")
    ),
    "maximum over axes": image("amax", lambda x: x.amax((2, 3))),
    "maximum and minimum": image("amax amin minimum", lambda x: torch.minimum(x.amax(1, True), x.amin(2, True))),
    "values of a maximum": image("amax", lambda x: x.max(-1)[0]),
    "largest of two": image("flip maximum", lambda x: torch.maximum(x, x.flip(1))),
    "max pool": image("max_pool_s8", lambda x: functional.max_pool2d(x, 2, 2, 1, 2, ceil_mode=True)),
    "max pool of a line": image(
        "flatten unsqueeze max_pool_s8 squeeze", lambda x: functional.max_pool1d(x.flatten(2), 3, 2, 1, 2)
    ),
    "adaptive max pool": image("max_pool_s8", lambda x: functional.adaptive_max_pool2d(x, (4, 3))),
    "concatenation": image("transpose transpose cat", lambda x: torch.cat([x.mT, x.mT], -1)),
}
TABLE = Table(CASES)


@pytest.mark.parametrize("name", CASES)
def test_structure(name: str) -> None:
    assert TABLE.operators(name) == CASES[name].operators.split()


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    lowering.check_numbers(TABLE, name)


@lowering.needs_vnni
def test_onnx_runtime_moves_the_same_bytes() -> None:
    lowering.check_file(TABLE)
    lowering.check_targets(TABLE)


@pytest.mark.slow
def test_kept_in_float_they_are_islands_and_the_net_runs_whole() -> None:
    lowering.check_islands(TABLE, "slice", "pad", "amax", "max_pool2d", "cat", "upsample_nearest2d")
