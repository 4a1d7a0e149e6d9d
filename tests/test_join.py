"""Products that do the addition and the table behind them: the same bytes, and only where nothing else looks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nets
import pytest
import torch
from torch import Tensor, fx, nn

import edgekit as ek
from edgekit.fuse import join
from edgekit.graph import Graph, edit
from edgekit.models import MODELS, example


class Net(nn.Module):
    """Two convolutions, and what a subclass makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)


class Sum(Net):
    """Of both: the later one adds."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


class Skip(Net):
    """The product is the second operand, the residual the first."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.repeat(1, 2, 1, 1) - self.first(x))


class Gate(Net):
    """A sum with a table behind it, then another sum that stays."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(self.first(x) + x.repeat(1, 2, 1, 1)) + x.repeat(1, 2, 1, 1)


class Line(nn.Module):
    """A 1-D convolution is one of an image of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x + self.layer(x))


class Twice(Net):
    """The product is read by something else, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return (y + self.second(x)) * y.mean((2, 3), keepdim=True)


class Doubled(Net):
    """One tensor is both operands."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return y + y


class Wide(Net):
    """A residual that is repeated along rows."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + x.repeat(1, 2, 1, 1).mean(2, keepdim=True)


class Turned(nn.Module):
    """Rows of a linear layer that change places behind it, as those of an attention whose batch is the second axis."""

    def __init__(self, fan_in: int = 6) -> None:
        super().__init__()
        self.layer = nn.Linear(fan_in, 6)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(0, 1).flatten(0, 1)
        return x + self.layer(rows).unflatten(0, (x.shape[1], x.shape[0])).permute(1, 0, 2)


class Narrowed(Turned):
    """More bytes would change places in front of the layer than behind it."""

    def __init__(self) -> None:
        super().__init__(12)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(torch.cat([x, -x], -1).transpose(0, 1)).transpose(0, 1)


class Crossed(Turned):
    """Features become rows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2) + self.layer(x).transpose(1, 2)


class Folded(Turned):
    """Rows are cut into others."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, 3) + self.layer(x).reshape(x.shape[0], -1, 3)


class Seen(Turned):
    """The rows in their first order are read by something else, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.transpose(0, 1))
        return (x + y.transpose(0, 1)) * y.mean((0, 2))[:, None, None]


IMAGE, ROWS = (2, 3, 6, 5), (2, 5, 6)
CASES: dict[type[nn.Module], tuple[tuple[int, ...], int, int]] = {  # shape of x, additions and tables left
    Sum: (IMAGE, 0, 0), Skip: (IMAGE, 0, 0), Gate: (IMAGE, 1, 0), Line: ((2, 4, 9), 0, 0), Twice: (IMAGE, 0, 0),
    Doubled: (IMAGE, 1, 0), Wide: (IMAGE, 1, 0), Turned: (ROWS, 0, 0), Narrowed: (ROWS, 1, 0), Crossed: (ROWS, 1, 0),
    Folded: (ROWS, 1, 0), Seen: (ROWS, 1, 0),
}  # fmt: skip


def golden(model: nn.Module, *inputs: Tensor) -> Graph:
    graph = ek.capture(model.eval(), inputs if len(inputs) > 1 else inputs[0])
    items = [inputs if len(inputs) > 1 else inputs[0]]
    return ek.lower(ek.quantize(graph, items, config=ek.QuantConfig(allow_few=True)).graph)


def words(graph: Graph) -> Counter[str]:
    return Counter(edit.operator_name(node).rpartition(".")[2] for node in edit.calls(graph.module))


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_what_is_joined_and_what_is_not(kind: type[nn.Module]) -> None:
    shape, sums, tables = CASES[kind]
    torch.manual_seed(0)
    integer = golden(kind(), torch.randn(shape))
    joined, x = join(integer), torch.randn(shape) * 2
    assert (words(joined)["add_s8"], words(joined)["lut_s8"]) == (sums, tables)
    assert torch.equal(joined(x), integer(x))
    only_sums = join(integer, tables=False)
    assert words(only_sums)["lut_s8"] == words(integer)["lut_s8"]
    assert torch.equal(only_sums(x), integer(x))


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "encoder", "vit", "tcn", "gru_classifier"])
def test_a_net_gives_the_same_bytes_in_fewer_calls(name: str) -> None:
    model, inputs = example(name, seed=0, **MODELS[name].small)
    two = tuple(torch.cat([x, x.flip(-1)]) for x in inputs)
    integer = golden(model, *two)
    before, joined = words(integer), join(integer)
    for want, got in zip(nets.tensors(integer(*two)), nets.tensors(joined(*two)), strict=True):
        assert torch.equal(want, got)
    assert words(integer) == before
    assert sum(words(joined).values()) <= sum(before.values())
    named = {node.name for node in edit.calls(integer.module)}
    new = {node.name for node in edit.calls(joined.module)} - named
    assert all(name.startswith("unsqueeze") or name.endswith("_row") for name in new), new  # of lines


class Places(nn.Module):
    """What is added is the same for every item: a plan has one item, the graph any number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.places, self.head = nn.Linear(8, 16), nn.Parameter(torch.randn(1, 5, 16)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x) + self.places)


class Repeated(Net):
    """A residual that is repeated along rows and columns when it is added."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + x.repeat(1, 2, 1, 1).mean((2, 3), keepdim=True).expand(-1, -1, 6, 5)


@pytest.mark.parametrize(("kind", "shape"), [(Places, (2, 5, 8)), (Repeated, IMAGE)])
def test_a_plan_adds_what_is_repeated(kind: type[nn.Module], shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    integer, x = golden(kind(), torch.randn(shape)), torch.randn(1, *shape[1:])
    assert ek.export_native(integer, tmp_path / "net.ekm").fused == 1
    (got,) = ek.load(tmp_path / "net.ekm").run(x.numpy())
    assert torch.equal(torch.from_numpy(got), integer(x))


def test_a_joined_line_is_told_by_the_name_and_line_of_what_it_does_last() -> None:
    torch.manual_seed(0)
    joined = join(golden(Line(), torch.randn(2, 4, 9)))
    (tensor,) = [one for one in ek.explain(joined).tensors if one.name == "silu"]
    (product,) = [node for node in joined.nodes if node.target is torch.ops.edgekit.conv2d_s8.default]
    assert tensor.carried_by == "edgekit.conv2d_s8"
    assert "silu" in edit.source_line(product)


def test_a_joined_graph_is_saved_and_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    integer = golden(Gate(), torch.randn(IMAGE))
    joined, x = join(integer), torch.randn(1, *IMAGE[1:])
    joined.save(tmp_path / "joined.safetensors")
    assert torch.equal(Graph.load(tmp_path / "joined.safetensors")(x), integer(x))
    ek.export_native(joined, tmp_path / "joined.ekm")
    (got,) = ek.load(tmp_path / "joined.ekm").run(x.numpy())
    assert torch.equal(torch.from_numpy(got), integer(x))


class Flat(Net):
    """A window, a pool, and all of an image as one row."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(self.first(x) + self.second(x), 2).flatten(1)


class Layouts(fx.Interpreter):
    """Notes which images are not channels last."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.others = list[str]()

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        is_image = isinstance(value, Tensor) and value.dim() == 4 and value.dtype is torch.int8
        if is_image and n.op == "call_function" and not value.is_contiguous(memory_format=torch.channels_last):
            self.others.append(n.name)
        return value


@pytest.mark.parametrize("net", ["flat", "resnet8", "mobilenet_v2"])
def test_images_stay_channels_last(net: str) -> None:
    model, (x,) = (Flat(), (torch.randn(IMAGE),)) if net == "flat" else example(net, seed=0, **MODELS[net].small)
    x = torch.cat([x, x.flip(-1)])
    integer = golden(model, x)
    last = x.contiguous(memory_format=torch.channels_last)
    for graph in (integer, join(integer)):
        seen = Layouts(graph.module)
        assert torch.equal(seen.run(last), integer(x))
        assert not seen.others
