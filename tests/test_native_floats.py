"""Plans of nets that compute in float here and there: islands of every kind, preprocessing, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import float_references
import numpy as np
import pytest
import torch
from plan_interpreter import Interpreter
from quantised import Written, build, conv, items, quantise, tensors
from torch import Tensor, fx, nn
from torch.nn import functional

import edgekit as ek
from edgekit import models
from edgekit.data.preprocess import Deployed, ScaleImage, standardize
from edgekit.errors import ExportMismatch
from edgekit.export.native import check, float_words
from edgekit.export.native.build import Builder
from edgekit.export.native.rules import float_layers
from edgekit.graph import Graph, capture, edit, kinds, patterns

native = pytest.importorskip("edgekit._C", reason="the C++ extension is not built")
Layers = nn.ModuleDict


def islands(
    function: Callable[[Layers, Tensor], Any], shape: tuple[int, ...], *kept: str, **layers: nn.Module
) -> Graph:
    """The quantised graph of a net, the calls of these operators in float."""
    graph, values = capture(build(Written(function, **layers)), items(shape)), items(shape)
    cells = [cell.body for cell in patterns.cells(ek.quantize(graph, [values]).graph) if not cell.is_border]
    names = [node.name for node in cells if word(node) in kept]
    assert len(names) >= len(kept), list(map(word, cells))
    return ek.quantize(graph, [values], ek.QuantConfig(keep_float=names)).graph


def word(node: fx.Node) -> str:
    """``lstm`` for the first result of ``edgekit.lstm``."""
    return edit.operator_name(kinds.call_of(node)).partition(".")[2]


def exported(graph: Graph, path: Path, values: Tensor, *words: str) -> str:
    """A plan that has these words and passes; engine and interpreter agree on it, floats to the last bit or so."""
    shapes = {graph.inputs[0].name: tuple(values.shape)}
    said = ek.export_native(graph, path, shapes).validated
    data = path.read_bytes()
    interpreter = Interpreter(data)
    assert set(words) <= {call.word for call in interpreter.calls}
    slow, names = interpreter.run(values), [record.name for record in interpreter.outputs]
    for isa, threads in (("ref", 1), (None, 3)):
        fast = native.Engine(data, isa, threads).run([values.numpy()])
        for name, mine, theirs in zip(names, fast, slow, strict=True):
            assert np.allclose(mine, theirs.numpy(), 1e-6, 1e-6), name
    return said


CASES: dict[str, Any] = {
    # function, shape, kept, words, layers
    "linear": (
        lambda n, x: n["b"](functional.relu(n["a"](x))), (12,), ["linear"], ["matmul_f32"],
        {"a": nn.Linear(12, 20), "b": nn.Linear(20, 5)},
    ),
    "depthwise": (
        lambda n, x: n["c"](functional.relu(n["b"](functional.relu(n["a"](x))))), (3, 9, 8), ["conv2d"], ["conv_f32"],
        {"a": conv(3, 8), "b": conv(8, 8, groups=8), "c": conv(8, 4, 1)},
    ),
    "transposed": (
        lambda n, x: n["b"](n["a"](n["c"](x))), (3, 5, 4), ["conv_transpose2d"], ["fill", "copy", "conv_f32"],
        {"c": conv(3, 4), "a": nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), "b": conv(6, 4)},
    ),
    "line": (
        lambda n, x: n["b"](functional.silu(n["a"](x)).mean(2)), (4, 21), ["conv1d", "silu"],
        ["conv_f32", "unary_f32"], {"a": nn.Conv1d(4, 6, 3, padding=1), "b": nn.Linear(6, 3)},
    ),
    "pools": (
        lambda n, x: n["b"](functional.avg_pool2d(functional.max_pool2d(n["a"](x), 3, 2, 1), 2)), (3, 12, 12),
        ["max_pool2d", "avg_pool2d"], ["pool_f32"], {"a": conv(3, 8), "b": conv(8, 4)},
    ),
    "interpolation": (
        lambda n, x: n["b"](functional.interpolate(n["a"](x), scale_factor=2, mode="bilinear")), (3, 6, 5), [],
        ["matmul_f32"], {"a": conv(3, 4), "b": conv(4, 4)},
    ),
    "attention": (
        lambda n, x: n["o"](functional.scaled_dot_product_attention(n["q"](x), n["k"](x), n["v"](x), is_causal=True)),
        (7, 8), ["scaled_matmul", "masked_softmax", "matmul"], ["matmul_f32", "reduce", "select"],
        {key: nn.Linear(8, 8) for key in "qkvo"},
    ),
    "norms": (
        lambda n, x: n["c"](n["r"](functional.gelu(n["n"](n["a"](x))))), (6, 12), ["layer_norm", "rms_norm", "gelu"],
        ["reduce", "binary", "unary_f32"],
        {"a": nn.Linear(12, 16), "n": nn.LayerNorm(16), "r": nn.RMSNorm(16), "c": nn.Linear(16, 4)},
    ),
    "groups": (
        lambda n, x: n["b"](n["g"](n["a"](x))), (3, 6, 6), ["group_norm"], ["reduce"],
        {"a": conv(3, 8), "g": nn.GroupNorm(2, 8), "b": conv(8, 4)},
    ),
    "gru": (
        lambda n, x: n["b"](n["a"](x)[0]), (9, 5), ["gru"], ["gru_f32"],
        {"a": nn.GRU(5, 7, batch_first=True), "b": nn.Linear(7, 3)},
    ),
    "lstm": (
        lambda n, x: n["b"](n["a"](x)[0]), (9, 5), ["lstm"], ["lstm_f32"],
        {"a": nn.LSTM(5, 7, batch_first=True, bidirectional=True), "b": nn.Linear(14, 3)},
    ),
    "quotient": (
        lambda n, x: n["b"](n["a"](x) / (1 + n["c"](x).abs())), (10,), [], ["binary"],
        {"a": nn.Linear(10, 16), "c": nn.Linear(10, 16), "b": nn.Linear(16, 4)},
    ),
    "pieces": (
        lambda n, x: n["b"](torch.cat([functional.pad(n["a"](x)[:, 3:], (2, 1), value=0.5), n["a"](x).flip(1)], 1)),
        (10,), ["linear"], ["copy", "matmul_f32"], {"a": nn.Linear(10, 16), "b": nn.Linear(32, 4)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_island_of_every_kind(name: str, tmp_path: Path) -> None:
    function, shape, kept, words, layers = CASES[name]
    said = exported(islands(function, shape, *kept, **layers), tmp_path / "net.ekm", items(shape, 1, seed=5), *words)
    assert "equal to the golden by the byte" in said


def test_what_is_said_of_values_beside_a_tie(tmp_path: Path) -> None:
    layers = {"a": nn.Linear(12, 20), "b": nn.Linear(20, 5)}
    net = build(Written(lambda n, x: n["b"](functional.relu(n["a"](x))), **layers))
    graph = capture(net, items((12,)))
    front = ek.quantize(graph, [items((12,))], ek.QuantConfig(keep_float=["linear"])).graph
    said = ek.export_native(front, tmp_path / "net.ekm").validated
    assert "on the engine's own bytes; 0 of 80 values there are one step beside a tie" in said
    assert "within" not in said
    end = ek.quantize(graph, [items((12,))], ek.QuantConfig(keep_float=["linear_1"])).graph
    said = ek.export_native(end, tmp_path / "net.ekm").validated
    assert said.endswith("by the byte; output within 0.0001 * (1 + |value|), generated")


@pytest.mark.parametrize("layer", ["linear", "linear_1"])
def test_a_wrong_island_is_not_written(layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {"a": nn.Linear(12, 20), "b": nn.Linear(20, 5)}
    graph = capture(build(Written(lambda n, x: n["b"](functional.relu(n["a"](x))), **layers)), items((12,)))
    mixed = ek.quantize(graph, [items((12,))], ek.QuantConfig(keep_float=[layer])).graph

    def without_bias(builder: Builder, node: fx.Node) -> Any:
        emit = builder.emit
        with monkeypatch.context() as patch:
            patch.setattr(builder, "emit", lambda word, inputs, *outputs: emit(word, inputs[:2], *outputs))
            return float_layers.linear(builder, node)

    monkeypatch.setitem(float_layers.RULES, torch.ops.aten.linear.default, without_bias)
    with pytest.raises(ExportMismatch, match=r"from the golden"):
        ek.export_native(mixed, tmp_path / "net.ekm")
    assert list(tmp_path.iterdir()) == []


def test_what_is_a_step_away_too_often_is_no_tie() -> None:
    ties = check.Ties(["x"])
    near = torch.zeros(2000, dtype=torch.int8)
    ties.add("file", 0, near, torch.cat([near[:1998], near[:2] + 1]))
    ties.check("file")
    ties.add("file", 0, near[:1], near[:1] + 1)
    with pytest.raises(ExportMismatch, match="3 of 2001 values of x"):
        ties.check("file")
    with pytest.raises(ExportMismatch, match="2 steps"):
        ties.add("file", 0, near, near + 2)


def test_a_float_state_goes_from_run_to_run(tmp_path: Path) -> None:
    class Streamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.GRU(5, 7, batch_first=True), nn.Linear(7, 3)

        def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
            y, hn = self.layer(x, h0.unsqueeze(0))
            return self.head(y), hn[0]

    values = (items((3, 5)), items((7,), seed=9))
    graph = capture(build(Streamed()), values)
    cells = patterns.cells(ek.quantize(graph, [values]).graph)
    names = [cell.body.name for cell in cells if word(cell.body) == "gru"]
    mixed = ek.quantize(graph, [values], ek.QuantConfig(keep_float=names)).graph
    shapes, path = {"x": (1, 3, 5), "h0": (1, 7)}, tmp_path / "net.ekm"
    report = ek.export_native(mixed, path, shapes, states={"h0": mixed.output_names[1]})
    assert report.state_bytes == 64
    assert "one step beside a tie" in report.validated
    runner, golden, state = ek.load(path), ek.lower(mixed), torch.zeros(1, 7)
    for step in range(3):
        x = items((3, 5), 1, seed=step)
        want, state = golden(x, state)
        assert np.allclose(runner.run(x.numpy())[0], want.numpy(), atol=0.05)


def table(columns: int, rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Numbers of different sizes, some missing, and a last column of words."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 10.0 ** rng.integers(-3, 4, columns), (rows, columns)).astype(np.float32)
    x[rng.random((rows, columns)) < 0.1] = np.nan
    return np.concatenate([x, rng.integers(0, 3, (rows, 1)).astype(np.float32)], 1)


def test_a_table_is_prepared_as_torch_does(tmp_path: Path) -> None:
    x, words = table(6, 64), [0, 0, 0, 0, 0, 0, 3]
    front = standardize(x, words, median=True)
    net = Deployed(front, build(models.create("mlp", inputs=9, hidden=16, classes=2))).eval()
    values = torch.from_numpy(x)
    graph = ek.quantize(capture(net, (values,)), [values.nan_to_num()]).graph
    path = tmp_path / "net.ekm"
    report = ek.export_native(graph, path, {graph.inputs[0].name: (16, 7)}, inputs=(values,))
    assert report.validated.endswith("on 4 runs, equal to the golden by the byte")
    kinds = [layer.kind for layer in ek.explain(ek.load(path))]
    assert {"compare", "select", "binary", "cast"} <= set(kinds)
    exported(graph, path, values[:16])


@pytest.mark.parametrize(("inputs", "hidden", "classes"), [(30, 32, 2), (6, 32, 1), (2, 10, 1)])
def test_the_nets_of_the_tabular_recipes(inputs: int, hidden: int, classes: int, tmp_path: Path) -> None:
    """Those of `cancer`, `volatility` and `simple_nn`, preprocessing and all."""
    x = table(inputs, 64, seed=inputs)[:, :-1]
    front = standardize(np.nan_to_num(x), [0] * inputs)
    net = Deployed(front, build(models.create("mlp", inputs=inputs, hidden=hidden, classes=classes))).eval()
    values = torch.from_numpy(np.nan_to_num(x))
    said = exported(ek.quantize(capture(net, (values,)), [values]).graph, tmp_path / "net.ekm", values[:1], "binary")
    assert said.endswith("equal to the golden by the byte, generated")


def test_features_that_the_net_gives_too(tmp_path: Path) -> None:
    """As for reconstruction (`anomaly`): the front's floats are an output, and equal to the bit."""
    x = np.ascontiguousarray(table(12, 64)[:, :-1])
    front = standardize(x, [0] * 12, median=True)
    net = Deployed(front, build(models.create("autoencoder", inputs=12, hidden=8, depth=1)), features=True).eval()
    values = torch.from_numpy(x)
    graph = ek.quantize(capture(net, (values,)), [values.nan_to_num()]).graph
    said = exported(graph, tmp_path / "net.ekm", values[:3])
    assert said.endswith("equal to the golden by the byte, generated")
    golden = ek.lower(graph)(values[:3])
    for mine, theirs in zip(ek.load(tmp_path / "net.ekm").run(values[:3].numpy()), tensors(golden), strict=True):
        assert np.array_equal(mine, theirs.numpy(), equal_nan=True)


def test_bytes_that_more_than_the_net_reads(tmp_path: Path) -> None:
    """Preprocessing of bytes whose floats are an output too is no table."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.net = ScaleImage([0.4], [0.2]), conv(3, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.front(x)
            return self.net(y), y.mean((2, 3))

    values = torch.randint(256, (32, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    graph = ek.quantize(capture(build(Twice()), (values,)), [values]).graph
    exported(graph, tmp_path / "net.ekm", values[:2], "cast", "binary", "reduce", "quantize_s8")


def test_samples_of_sixteen_bits(tmp_path: Path) -> None:
    def function(layers: Layers, x: Tensor) -> Tensor:
        return layers["a"]((x.to(torch.float32) / 32768.0).unsqueeze(1)).mean(2)

    values = torch.randint(-32768, 32767, (64, 40), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    net = build(Written(function, a=nn.Conv1d(1, 4, 5, 2)))
    graph = ek.quantize(capture(net, (values,)), [values]).graph
    said = exported(graph, tmp_path / "net.ekm", values[:1], "cast", "binary")
    assert said.endswith("equal to the golden by the byte, generated")


def test_a_masked_mean_of_tokens(tmp_path: Path) -> None:
    def function(layers: Layers, x: Tensor) -> Tensor:
        mask = (x != 0).unsqueeze(2)
        total = torch.where(mask, layers["e"](x), 0.0).sum(1)
        return layers["a"](total / mask.sum(1).clamp(min=1))

    values = torch.randint(0, 9, (64, 6), generator=torch.Generator().manual_seed(0))
    net = build(Written(function, e=nn.Embedding(9, 8), a=nn.Linear(8, 3)))
    graph = ek.quantize(capture(net, (values,)), [values]).graph
    exported(graph, tmp_path / "net.ekm", values[:1], "compare", "select", "reduce", "cast")


def test_a_class_by_its_number(tmp_path: Path) -> None:
    layers = {"a": nn.Linear(12, 20), "b": nn.Linear(20, 5)}
    net = Written(lambda n, x: n["b"](functional.relu(n["a"](x))).argmax(1), **layers)
    exported(quantise(net, 12), tmp_path / "net.ekm", items((12,), 1), "reduce")


def test_every_word_has_a_reference() -> None:
    words = {kind.word for kind in vars(float_words).values() if isinstance(kind, type) and getattr(kind, "word", "")}
    assert words == set(float_references.REFERENCES) | {"cast", "reduce", "pool_f32"}
