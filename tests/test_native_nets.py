"""Every net that ships and every rule's net as a plan: the engine and the interpreter give the golden's bytes."""

from __future__ import annotations

from functools import cache
from importlib import import_module

import numpy as np
import pytest
import torch
from lowering import Table
from plan_interpreter import Interpreter
from quantised import NETS, build, conv, items, quantised, tensors
from torch import Tensor, nn

import edgekit as ek
from edgekit import models
from edgekit.data.preprocess import ScaleImage
from edgekit.export.native.compile import Compiled, compile_plan
from edgekit.export.native.format import to_bytes
from edgekit.graph import Graph, capture

native = pytest.importorskip("edgekit._C", reason="the C++ extension is not built")
needs_engine = pytest.mark.skipif(not hasattr(native, "Engine"), reason="edgekit._C was built before the engine")
LOOSEST = 1.15  # of the largest set of tensors that are live at once
TABLES = ("attention", "elementwise", "moves", "norms", "pools", "products")


@cache
def zoo(name: str) -> Graph:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, inputs = models.example(name, 2, **models.MODELS[name].small)
        model.train()(*inputs)
        graph = capture(model.eval(), inputs)
    calibration = [models.example_inputs(name, 32, seed=9, **models.MODELS[name].small)]
    return ek.lower(ek.quantize(graph, calibration).graph)


def compiled(graph: Graph, values: tuple[Tensor, ...]) -> Compiled:
    return compile_plan(graph, {info.name: tuple(x.shape) for info, x in zip(graph.inputs, values, strict=True)})


def check(graph: Graph, values: tuple[Tensor, ...]) -> Compiled:
    """The interpreter and the engine on its plainest and on its fastest kernels give every byte of the golden."""
    made = compiled(graph, values)
    data = to_bytes(made.plan)
    golden = [y.numpy().tobytes() for y in tensors(graph(*values))]
    assert [y.numpy().tobytes() for y in Interpreter(data).run(*values)] == golden
    if hasattr(native, "Engine"):
        for isa, threads in (("ref", 1), (None, 1), (None, 3)):
            got = native.Engine(data, isa, threads).run([x.numpy() for x in values])
            assert [np.asarray(y).tobytes() for y in got] == golden, (isa, threads)
    assert made.plan.arena_bytes <= LOOSEST * made.plan.least_bytes
    return made


ALIKE = ("mobilenet_v1", "resnet50")  # and long: their blocks are those of mobilenet_v2 and resnet18


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in models.names()])
def test_every_net_that_ships(name: str) -> None:
    for batch in (1, 3):
        check(zoo(name), models.example_inputs(name, batch, seed=5, **models.MODELS[name].small))


@pytest.mark.parametrize("name", NETS)
def test_small_nets(name: str) -> None:
    check(ek.lower(quantised(name)), (items(NETS[name].shape, 1, seed=3),))


@pytest.mark.parametrize("name", TABLES)
def test_the_nets_of_every_rule_of_lowering(name: str) -> None:
    table: Table = import_module(f"test_lower_{name}").TABLE
    check(table.lowered.graph, tuple(x[:1] for x in table.inputs(1, seed=7)))


def test_layers_compute_the_sums_behind_them() -> None:
    made = check(zoo("resnet18"), models.example_inputs("resnet18", 1, **models.MODELS["resnet18"].small))
    words = [operation.word for operation in made.plan.operations]
    assert made.fused == 8
    assert words.count("add_s8") == words.count("copy") == 0
    assert words.count("conv2d_s8") == 20


def test_padding_lies_in_memory() -> None:
    values = models.example_inputs("ds_cnn", 1, **models.MODELS["ds_cnn"].small)
    made = compiled(zoo("ds_cnn"), values)
    interpreter = Interpreter(to_bytes(made.plan))
    interpreter.run(*values)
    assert interpreter.reads_halo == sum(call.word == "halo" for call in interpreter.calls) == 5


def test_lines_stay_views_around_convolutions_and_padding_is_the_convolutions_own() -> None:
    made = compiled(zoo("tcn"), models.example_inputs("tcn", 1, **models.MODELS["tcn"].small))
    assert {o.word for o in made.plan.operations} == {"quantize_s8", "halo", "conv2d_s8", "linear_s8", "dequantize"}


def test_the_same_net_gives_the_same_bytes_and_nothing_of_this_machine() -> None:
    values = models.example_inputs("two_tower", 1, **models.MODELS["two_tower"].small)
    first, second = (to_bytes(compiled(zoo("two_tower"), values).plan) for _ in range(2))
    assert first == second
    assert b"/home" not in first
    assert b"site-packages" not in first
    assert all("/" not in call.source for call in Interpreter(first).calls)


@pytest.mark.parametrize("shared", [False, True])
def test_preprocessing_of_bytes_is_a_table(shared: bool) -> None:
    front = ScaleImage([0.4] if shared else [0.3, 0.5, 0.4], [0.2] if shared else [0.25, 0.2, 0.3])
    net = build(nn.Sequential(conv(3, 6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 5 * 4, 3)))
    values = torch.randint(256, (32, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    graph = ek.lower(ek.quantize(capture(nn.Sequential(front, net).eval(), (values,)), [(values,)]).graph)
    every = torch.arange(256, dtype=torch.uint8).repeat(15)[: 60 * 64].reshape(64, 3, 5, 4)
    made = check(graph, (every,))
    assert next(o.word for o in made.plan.operations if o.word in ("lut_s8", "quantize_s8")) == "lut_s8"
