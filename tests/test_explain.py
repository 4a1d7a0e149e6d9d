"""``explain`` gives the reasons of the code that decided, for every tensor and in every form of a net."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import quantised
import torch
from quantised import NETS, build, float_graph, items
from torch import Tensor, nn

import edgekit as ek
from edgekit import cli
from edgekit.errors import UsageError
from edgekit.graph import notes, patterns


class Mixed(nn.Module):
    """A layer, a batch norm and relu, an operator without an integer form, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(torch.cumsum(x, 2).mean((2, 3)))


def mixed() -> tuple[ek.Graph, ek.Graph]:
    graph = ek.capture(build(Mixed()), items((3, 8, 8), 2))
    return graph, ek.quantize(graph, [items((3, 8, 8))]).graph


def test_a_float_graph_says_what_would_be() -> None:
    found = ek.explain(mixed()[0])
    assert found.form == "float"
    assert (found["x"].held, found["x"].reason) == ("int8", "rounded to INT8 for conv2d")
    assert found["batch_norm"].reason == "computed on integers, requantised between the bounds of relu"
    assert "bounds" in found["relu"].reason
    assert (found["cumsum"].held, found["cumsum"].scale) == ("float, then int8", None)
    assert found["cumsum"].reason.startswith("aten.cumsum has no integer form; rounded to INT8 for mean")
    assert (found["conv2d"].held, found["conv.weight"].held, found["conv.bias"].held) == ("folded", "int8", "int32")
    with pytest.raises(UsageError, match="no tensor"):
        found["nothing"]


def test_what_is_asked_to_stay_float_says_so() -> None:
    found = ek.explain(mixed()[0], ek.QuantConfig(keep_float=("linear",)))
    assert found["linear"].reason == "it was asked to stay in float"
    assert "asked to stay in float" in found["head.weight"].reason


def test_the_quantised_and_the_integer_graph_say_the_same() -> None:
    graph = mixed()[1]
    found, integer = ek.explain(graph), ek.explain(ek.lower(graph))
    assert (found.form, integer.form) == ("quantised", "integer")
    assert found["relu"].carried_by == integer["relu"].carried_by == "edgekit.conv2d_s8"
    assert found["relu"].scale == integer["relu"].scale is not None
    assert found["cumsum"].reason.startswith("aten.cumsum has no integer form")
    assert "4 scales from" in found["conv.weight"].reason
    assert found.int8_macs == integer.int8_macs == 1.0


@pytest.mark.parametrize("name", sorted(NETS))
def test_every_tensor_is_there_with_a_reason_and_held_as_before(name: str) -> None:
    graph, after = float_graph(name), ek.explain(quantised.quantised(name))
    before = ek.explain(graph)
    names = {tensor.name for tensor in before.tensors}
    assert {
        node.name
        for node in graph.nodes
        if isinstance(node.meta.get("val"), Tensor) and node.op not in ("get_attr", "output")
    } <= names
    assert all(tensor.reason for tensor in (*before.tensors, *after.tensors))
    held = {tensor.name: tensor.held for tensor in before.tensors}
    assert {tensor.name: held[tensor.name] for tensor in after.tensors} == {t.name: t.held for t in after.tensors}
    cells = [cell for cell in patterns.cells(quantised.quantised(name)) if not cell.is_border]
    assert all(after[notes.value_name(cell.real)].carried_by for cell in cells)
    assert str(after).count("\n") == len(after.tensors) + 1


def test_tensors_that_share_a_scale_name_the_first() -> None:
    found = ek.explain(quantised.quantise(nn.Sequential(nn.Sigmoid(), nn.Flatten(), nn.Linear(6, 2)), 2, 3))
    assert found["flatten"].group == found["sigmoid"].group == "sigmoid"
    assert "moves the bytes of sigmoid" in found["flatten"].reason
    assert found["linear"].group == ""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed()[1].save(tmp_path / "q.safetensors")
    with pytest.raises(SystemExit):
        cli.main(["explain", str(tmp_path / "q.safetensors"), "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["form"] == "quantised"
    assert {"name", "held", "reason", "scale", "group", "carried_by"} <= content["tensors"][0].keys()


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
def test_a_recurrent_layer_is_told_with_its_gates(layer: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), layer(3, 5, batch_first=True)).eval()
    x = torch.randn(40, 6, 4)
    graph = ek.capture(model, x)
    quantised_graph = ek.quantize(graph, [x]).graph
    name = "gru" if layer is nn.GRU else "lstm"
    for found in (ek.explain(graph), ek.explain(quantised_graph)):
        assert found[f"{name}_y"].operator == f"edgekit.{name}"
        assert found[f"{name}_y"].held == "int8"
        weights = [t for t in found.tensors if t.name.startswith("1.weight_hh")]
        assert [t.held for t in weights] == ["int8"] * (3 if name == "gru" else 4)
        assert found.int8_macs == 1.0
        assert not any(t.name.endswith("_scale") for t in found.tensors)
        if layer is nn.LSTM:
            assert found["lstm_c"].reason.startswith("the cell of an LSTM: 16 bits")
            assert found["lstm_c"].held == "float"
        assert not [tensor for tensor in found.tensors if tensor.group.endswith("_zeros")]
    assert ek.explain(quantised_graph)[f"{name}_y"].carried_by == f"edgekit.{name}_s8"
    assert ek.explain(ek.lower(quantised_graph)).int8_macs == 1.0
