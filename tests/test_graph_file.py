"""A graph on disk comes back to the bit; a wrong or hostile file is one typed error and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nets
import pytest
import torch
from nets import Written, captured, same
from torch import nn

import edgekit as ek
from edgekit.errors import GraphFileError
from edgekit.graph import Graph, edit
from edgekit.graph import save as file

EVERY_NET = pytest.mark.parametrize("name", sorted(nets.NETS))


def reloaded(graph: Graph, folder: Path) -> Graph:
    graph.save(folder / "g.safetensors")
    return Graph.load(folder / "g.safetensors")


def small() -> Graph:
    return ek.capture(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()), torch.randn(2, 1, 5, 5))


# There and back.


@EVERY_NET
@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_come_back_to_the_bit(name: str, training: bool, tmp_path: Path) -> None:
    _, graph = captured(name)
    graph.train(training)
    back = reloaded(graph, tmp_path)
    inputs = nets.NETS[name].inputs(5)
    results = []
    for subject in (graph, back):
        torch.manual_seed(2)
        outputs = nets.tensors(subject(*inputs))
        sum(output.square().sum() for output in outputs).backward()
        results.append(outputs)
    assert same(*results)
    expected = {key: p.grad for key, p in graph.named_parameters()}
    got = {key: p.grad for key, p in back.named_parameters()}
    assert expected.keys() == got.keys()
    for key, gradient in expected.items():
        assert torch.equal(got[key], gradient), key
    assert (back.inputs, back.outputs, back.output_names) == (graph.inputs, graph.outputs, graph.output_names)
    assert (back.notes, back.attention_dropout) == (graph.notes, graph.attention_dropout)
    assert back.module.training == training


@EVERY_NET
def test_both_modes_can_still_be_reached(name: str, tmp_path: Path) -> None:
    model, graph = captured(name)
    back = reloaded(graph, tmp_path)
    inputs = nets.NETS[name].inputs(5)
    torch.manual_seed(2)
    expected = model.train()(*inputs)
    torch.manual_seed(2)
    assert same(back.train()(*inputs), expected)
    assert same(back.eval()(*inputs), model.eval()(*inputs))


@EVERY_NET
def test_what_is_printed_and_named_comes_back(name: str, tmp_path: Path) -> None:
    _, graph = captured(name)
    back = reloaded(graph, tmp_path)
    assert str(back) == str(graph)
    assert back.module.code == graph.module.code
    assert dict(back.named_parameters()).keys() == dict(graph.named_parameters()).keys()


@EVERY_NET
def test_the_second_save_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    _, graph = captured(name)
    data = file.serialise(graph)
    assert file.serialise(graph) == data
    assert file.serialise(graph.copy().train().eval()) == data
    assert file.serialise(reloaded(graph, tmp_path)) == data


def test_a_fresh_process_gives_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); import nets, edgekit as ek\n"
        "for name in ('attention-weights', 'tied'):\n"
        "    net = nets.NETS[name]\n"
        "    ek.capture(net.build(), net.inputs(1)).save(f'{sys.argv[2]}/{name}.safetensors')\n"
    )
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONHASHSEED": "4242", "PYTHONPATH": str(tests.parent)}
    subprocess.run([sys.executable, "-c", code, str(tests), str(tmp_path)], check=True, env=environment)
    paths = list(tmp_path.iterdir())
    assert len(paths) == 2
    for path in paths:
        assert path.read_bytes() == file.serialise(captured(path.stem)[1])


@pytest.mark.parametrize("name", ["residual", "depthwise", "perceptron", "flatten"])
def test_quantised_and_integer_graphs(name: str, tmp_path: Path) -> None:
    _, graph = captured(name)
    inputs = nets.NETS[name].inputs(32)
    quantised = ek.quantize(graph, [inputs]).graph
    integer = ek.lower(quantised)
    for stage in (quantised, integer):
        back = reloaded(stage, tmp_path)
        assert same(back(*inputs), stage(*inputs))
        assert file.serialise(back) == file.serialise(stage)
        assert {k: v.dtype for k, v in back.module.state_dict().items()} == {
            k: v.dtype for k, v in stage.module.state_dict().items()
        }
    assert same(ek.lower(reloaded(quantised, tmp_path))(*inputs), integer(*inputs))


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    _, graph = captured("tied")
    linear = [node for node in edit.calls(graph.module) if edit.operator_name(node) == "aten.linear"]
    edit.set_tensor(graph.module, "second.weight", edit.get_by_path(graph.module, "first.weight"))
    with graph.module.graph.inserting_before(linear[-1]):
        other = graph.module.graph.get_attr("second.weight")
    edit.set_argument(linear[-1], "weight", other)
    graph.refresh()
    back = reloaded(graph, tmp_path)
    first, second = (edit.get_by_path(back.module, f"{name}.weight") for name in ("first", "second"))
    assert first is second
    assert isinstance(first, nn.Parameter)
    assert same(back(*nets.NETS["tied"].inputs()), graph(*nets.NETS["tied"].inputs()))


def test_frozen_parameters_and_buffers_stay_what_they_are(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    model[0].weight.requires_grad_(False)
    graph = ek.capture(model, torch.randn(2, 1, 5, 5))
    back = reloaded(graph, tmp_path)
    assert {k: p.requires_grad for k, p in back.named_parameters()} == {
        "0.weight": False,
        "0.bias": True,
        "1.weight": True,
        "1.bias": True,
    }
    assert {k for k, _ in back.module.named_buffers()} == {"1.running_mean", "1.running_var"}


class Odd(nn.Module):
    """Constants, buffers that share memory, integers, infinities, slices, types and awkward names."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(6.0))
        self.register_buffer("part", self.table[2:4])
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("short", torch.ones(2, dtype=torch.bfloat16))
        self.layers = nn.ModuleDict({"a-b": nn.Linear(6, 2), "ümlaut": nn.Linear(2, 2)})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.layers["ümlaut"](self.layers["a-b"](x + self.table)) + self.part + self.short
        y = y.masked_fill(self.mask, float("-inf"))
        long = torch.zeros(x.shape[0], 3, dtype=torch.int64) + torch.tensor([1, 2, 3])
        return y, x[:, 1:-1:2], long, y.to(torch.float64), torch.where(x > 0, x, 1e-45)


def test_odd_values_and_names_come_back(tmp_path: Path) -> None:
    graph = ek.capture(Odd(), torch.randn(2, 6))
    back = reloaded(graph, tmp_path)
    x = torch.randn(3, 6)
    assert same(back(x), graph(x))
    assert file.serialise(back) == file.serialise(graph)


def test_the_loaded_graph_does_not_need_its_file(tmp_path: Path) -> None:
    graph = small()
    back = reloaded(graph, tmp_path)
    with open(tmp_path / "g.safetensors", "r+b") as raw:
        raw.truncate(0)
    x = torch.randn(2, 1, 5, 5)
    assert same(back(x), graph(x))
    back(x).sum().backward()


def test_what_has_no_form_in_the_file_is_said() -> None:
    branch = Written(lambda _, x: torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,)))
    with pytest.raises(GraphFileError):
        file.serialise(ek.capture(branch, torch.randn(2, 3)))
    ratio = Written(lambda _, x: x * (x.shape[0] / 2))
    with pytest.raises(GraphFileError, match="truediv"):
        file.serialise(ek.capture(ratio, torch.randn(2, 3)))


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    small().save(path)
    before = path.read_bytes()
    ratio = Written(lambda _, x: x * (x.shape[0] / 2))
    with pytest.raises(GraphFileError):
        ek.capture(ratio, torch.randn(2, 3)).save(path)
    assert path.read_bytes() == before
