"""The float front: preprocessing in front of everything learned stays as it is, and behind it all is INT8 as ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, fx, nn

import edgekit as ek
from edgekit import device
from edgekit.errors import ExportMismatch
from edgekit.export import tap
from edgekit.export.validate import generated_inputs
from edgekit.graph import Graph, edit, front, patterns
from edgekit.prune import couple

aten = torch.ops.aten


class Standardise(nn.Module):
    """Raw numbers of very different size to mean 0 and deviation 1."""

    def __init__(self, features: int = 6) -> None:
        super().__init__()
        self.register_buffer("mean", torch.linspace(-50.0, 900.0, features))
        self.register_buffer("deviation", torch.linspace(0.01, 300.0, features))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class Spectrum(nn.Module):
    """Power in bands, in decibels: convolutions with fixed weights, a square, a logarithm."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(16.0) * torch.arange(1.0, 7.0)[:, None] * torch.pi / 8
        self.register_buffer("waves", torch.cat([angles.cos(), angles.sin()])[:, None, None])
        self.register_buffer("bands", torch.rand(4, 6, generator=torch.Generator().manual_seed(0))[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        parts = nn.functional.conv2d(x[:, None, None], self.waves, stride=(1, 8))
        power = parts[:, :6] ** 2 + parts[:, 6:] ** 2
        loudness = torch.log(nn.functional.conv2d(power, self.bands) + 1e-3)
        return loudness.permute(0, 2, 3, 1)  # [N, 1, frames, bands]


class Net(nn.Module):
    def __init__(self, preprocess: nn.Module, body: nn.Module, features: bool = False) -> None:
        super().__init__()
        self.preprocess, self.body, self.features = preprocess, body, features

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        ready = self.preprocess(x)
        return (self.body(ready), ready) if self.features else self.body(ready)


def table(features: bool = False) -> nn.Module:
    return Net(Standardise(), nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)), features)


def sound() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 5 * 2, 3))
    return Net(Spectrum(), body)


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.body = nn.Sequential(nn.Conv2d(8, 10, (3, 1)), nn.BatchNorm2d(10), nn.ReLU())
        self.head = nn.Linear(10, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)[..., None]
        return self.head(self.body(x).mean((2, 3)))


class Picture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))

    def forward(self, image: Tensor) -> Tensor:
        return self.body((image.float() / 255 - 0.5) / 0.25)


def rows(count: int, seed: int) -> Tensor:
    noise = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    made = Standardise()
    return noise * made.deviation + made.mean


def waves(count: int, seed: int) -> Tensor:
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(seed))


def tokens(count: int, seed: int) -> Tensor:
    return torch.randint(20, (count, 12), generator=torch.Generator().manual_seed(seed))


def pixels(count: int, seed: int) -> Tensor:
    shape = (count, 3, 8, 8)
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


class Recorder(fx.Interpreter):
    """Runs a graph and keeps what every node gives."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.module)
        self.seen: dict[str, np.ndarray] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.seen[n.name] = value.numpy()
        return value


def values(graph: Graph, x: Tensor) -> dict[str, np.ndarray]:
    recorder = Recorder(graph)
    with torch.no_grad():
        recorder.run(x)
    return recorder.seen


def outputs(graph: Graph, x: Tensor) -> list[np.ndarray]:
    seen = values(graph, x)
    return [seen[node.name] for node in graph.output_nodes()]


Make = Callable[[], nn.Module]
Items = Callable[[int, int], Tensor]
NETS: dict[str, tuple[Make, Items]] = {
    "table": (table, rows),
    "features": (lambda: table(features=True), rows),
    "sound": (sound, waves),
    "text": (Text, tokens),
    "picture": (Picture, pixels),
}


@pytest.fixture(params=list(NETS), scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Graph, Graph, Items]:
    make, items = NETS[request.param]
    torch.manual_seed(1)
    graph = ek.capture(make(), items(2, 0))
    return graph, ek.quantize(graph, calibration=[items(64, 1)]).graph, items


def test_everything_learned_is_quantised_and_nothing_of_the_front(case: tuple[Graph, Graph, Items]) -> None:
    _, quantised_graph, _ = case
    stays = {n for n in front.front_calls(quantised_graph) if n.target is not front.EMBEDDING}
    tables = [n for n in edit.calls(quantised_graph.module) if n.target is front.EMBEDDING]
    assert stays or tables
    assert all(edit.is_call(n.args[0], patterns.FAKE_QUANTIZE) for n in tables)  # rows are bytes like any other
    layers = [node for node in edit.calls(quantised_graph.module) if node.target in patterns.WEIGHTED]
    learned = [node for node in layers if node not in stays]
    assert len(learned) >= 2
    assert all(edit.is_call(edit.arguments(node)["weight"], patterns.FAKE_QUANTIZE) for node in learned)
    assert not any(edit.is_call(source, patterns.FAKE_QUANTIZE) for node in stays for source in node.all_input_nodes)


def test_the_front_computes_what_the_model_does(case: tuple[Graph, Graph, Items]) -> None:
    """The integer graph quantises exactly the values that the float graph's front gives."""
    graph, quantised_graph, items = case
    integer, x = ek.lower(quantised_graph), items(16, 2)
    float_values, integer_values = values(graph, x), values(integer, x)
    (cell,) = [cell for cell in patterns.cells(quantised_graph) if cell.is_border]
    if cell.body.op == "get_attr":
        return  # the rows of a table, which are stored as bytes
    np.testing.assert_array_equal(float_values[cell.body.name], integer_values[cell.body.name])
    scale = float(edit.get_tensor(quantised_graph.module, cell.scale))
    steps = np.clip(np.rint(float_values[cell.body.name] / np.float32(scale)), -128, 127)
    np.testing.assert_array_equal(integer_values[f"{cell.body.name}_s8"], steps)


def test_the_golden_is_near_the_float_model_and_survives_saving(
    case: tuple[Graph, Graph, Items], tmp_path: Path
) -> None:
    graph, quantised_graph, items = case
    integer, x = ek.lower(quantised_graph), items(64, 3)
    integer.save(tmp_path / "g.safetensors")
    again = Graph.load(tmp_path / "g.safetensors")
    for expected, got, same in zip(*(outputs(g, x) for g in (graph, integer, again)), strict=True):
        assert (same == got).all()
        noise = np.square(got - expected).mean() / np.square(expected).mean()
        assert noise < 0.01  # 20 dB: two or three layers of 8 bits, each some 35 dB or better


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt-10"])
def test_the_file_has_the_goldens_bytes_behind_the_front(
    case: tuple[Graph, Graph, Items], target: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    _, quantised_graph, items = case
    report = ek.export_onnx(quantised_graph, tmp_path / "m.onnx", target, inputs=[items(96, 4)])
    assert not report.validation.failure
    if target == "onnxruntime" and device.has_vnni():
        assert report.validation.differing_bytes == 0
    assert (tmp_path / "m.onnx").exists()


def test_random_inputs_for_validation_are_legal_for_every_type(
    case: tuple[Graph, Graph, Items], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    _, quantised_graph, _ = case
    (made,) = generated_inputs(quantised_graph)
    if not made.is_floating_point():
        assert len(made.unique()) > 10
    ek.export_onnx(quantised_graph, tmp_path / "m.onnx")


def test_pruning_leaves_the_front_alone(case: tuple[Graph, Graph, Items]) -> None:
    graph, _, items = case
    smaller = ek.prune(graph, 0.5).graph
    learned: set[fx.Node] = set()  # an embedding and what moves its rows have channels like any layer
    for node in front.front_calls(graph):
        if node.target is front.EMBEDDING or not learned.isdisjoint(node.all_input_nodes):
            learned.add(node)
    stays = {node.name: graph.shape(node) for node in front.front_calls(graph) if node not in learned}
    assert {node.name: smaller.shape(node) for node in smaller.nodes if node.name in stays} == stays
    assert sum(p.numel() for p in smaller.module.parameters()) < sum(p.numel() for p in graph.module.parameters())
    x = items(4, 5)
    for name in list(stays)[-1:]:
        np.testing.assert_array_equal(*(values(g, x)[name] for g in (graph, smaller)))
    assert stays or learned


def test_fixed_filters_are_no_channels_to_cut() -> None:
    graph = ek.capture(sound(), waves(2, 0))
    named = {path for group in couple(graph).groups for path, _ in group.places}
    assert named
    assert not [path for path in named if path.startswith("preprocess")]


def test_a_learned_layer_ends_the_front() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.preprocess = nn.Linear(6, 6), Standardise()

        def forward(self, x: Tensor) -> Tensor:
            return self.preprocess(self.layer(x))

    found = ek.quantize(ek.capture(Late(), rows(2, 0)), calibration=[rows(64, 1)])
    assert "sub" not in found.report.kept_float


def test_a_learned_offset_ends_the_front() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.rand(6))
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x * self.offset)

    found = ek.quantize(ek.capture(Learned(), rows(2, 0)), calibration=[rows(64, 1)])
    assert not found.report.kept_float


def test_what_can_be_quantised_in_front_is_quantised() -> None:
    """A flatten alone is no reason to stay in float: the input is quantised, as it always was."""
    graph = ek.capture(nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), torch.rand(2, 2, 3))
    found = ek.quantize(graph, calibration=[torch.rand(40, 2, 3)]).graph
    assert [cell.body.op for cell in patterns.cells(found) if cell.is_border] == ["placeholder"]


def test_a_wrong_byte_behind_the_front_is_seen(tmp_path: Path) -> None:
    """The guard itself: the tail of the file is spoilt by one step of a bias, and the bytes differ."""
    pytest.importorskip("onnxruntime")
    torch.manual_seed(1)
    graph = ek.quantize(ek.capture(table(), rows(2, 0)), calibration=[rows(64, 1)]).graph
    path, x = tmp_path / "m.onnx", rows(64, 2)
    ek.export_onnx(graph, path, inputs=[x])
    model = onnx.load(str(path))
    bias = next(i for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT32)
    values = onnx.numpy_helper.to_array(bias).copy()
    values += 4000
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, str(path))
    outputs, taps = tap.run_tapped(path, [x.numpy()], 128)
    expected = tap.run_from(ek.lower(graph), [x], taps)
    assert (outputs[0] != expected.numpy()).any()


def test_another_number_of_quantisers_is_a_mismatch() -> None:
    graph = ek.quantize(ek.capture(table(), rows(2, 0)), calibration=[rows(64, 1)]).graph
    with pytest.raises(ExportMismatch, match="quantises 0 float tensors, its graph 1"):
        tap.run_from(ek.lower(graph), [rows(2, 0)], [])
