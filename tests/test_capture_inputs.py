"""What goes in and comes out has the user's names, what is frozen is said, and a refusal helps."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
from nets import Written, captured, same
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.errors import CaptureError, InputError, ModelError


def test_one_input_that_does_not_carry_the_batch_is_not_repeated() -> None:
    class Positions(nn.Module):
        def forward(self, x: Tensor, positions: Tensor) -> Tensor:
            return x + positions

    x, positions = torch.randn(4, 6), torch.randn(1, 6)
    with pytest.warns(UserWarning, match="positions is captured with a fixed batch of 1"):
        graph = ek.capture(Positions(), (x, positions))
    assert [info.shape for info in graph.inputs] == [(None, 6), (1, 6)]
    assert same(graph(x[:3], positions), x[:3] + positions)


def test_a_batch_that_the_model_fixes_is_a_loud_warning() -> None:
    model = Written(lambda _, x: x.view(4, 3, 2).sum(1))
    with pytest.warns(UserWarning, match="fixed batch of 4") as caught:
        graph = ek.capture(model, torch.randn(4, 6))
    assert caught[0].filename == __file__  # it points at the call, not into edgekit
    assert graph.inputs[0].shape == (4, 6)
    assert any("fixed batch of 4" in note for note in graph.notes)
    x = torch.randn(4, 6)
    assert same(graph(x), model(x))


def test_a_dynamic_batch_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = ek.capture(nets.NETS["residual"].build(), nets.NETS["residual"].inputs(1))
    assert graph.inputs[0].shape == (None, 3, 12, 12)
    assert graph.outputs[0].shape == (None, 5)
    assert graph.notes == ()


def test_inputs_and_outputs_go_by_name() -> None:
    net = nets.NETS["two-inputs"]
    model = net.build()
    image, state = net.inputs(3)
    graph = ek.capture(model, {"state": state, "image": image})
    assert {info.name for info in graph.inputs} == {"image", "state"}
    assert graph.output_names == ("classes", "distance")
    expected = model(image, state)
    assert same(graph(state=state, image=image), expected)
    first = graph.inputs[0].name
    rest = {"image": image, "state": state}
    assert same(graph(rest.pop(first), **rest), expected)
    for args, kwargs in (((image,), {}), ((image, state, state), {}), ((), {"image": image, "stale": state})):
        with pytest.raises(InputError, match="takes the inputs"):
            graph(*args, **kwargs)


def test_an_input_keeps_its_name_where_it_is_also_a_name_of_python() -> None:
    """fx calls the node "input_1"; the user does not."""
    model = nn.Linear(4, 4)
    graph = ek.capture(model, {"input": torch.randn(2, 4)})
    assert [info.name for info in graph.inputs] == ["input"]
    x = torch.randn(3, 4)
    assert same(graph(input=x), model(x))


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda _, x: x * 2, ("output",)),
        (lambda _, x: (x, x * 2), ("output_0", "output_1")),
        (lambda _, x: [x * 2], ("output_0",)),
        (lambda _, x: {"a": x * 2, "b": {"c": x + 1}}, ("a", "b_c")),
        (lambda _, x: (x * 2, x.shape[0], None), ("output_0",)),
    ],
)
def test_outputs_are_flat_and_named(function: Callable[..., Any], names: tuple[str, ...]) -> None:
    x = torch.randn(3, 4)
    graph = ek.capture(Written(function), x)
    assert graph.output_names == names
    assert tuple(info.name for info in graph.outputs) == names
    expected = [leaf for leaf in torch.utils._pytree.tree_leaves(function(None, x)) if isinstance(leaf, Tensor)]
    assert same(graph(x), tuple(expected))


def test_a_forward_with_any_number_of_arguments() -> None:
    class Adds(nn.Module):
        def forward(self, first: Tensor, *others: Tensor) -> Tensor:
            return first + sum(others)

    a, b, c = torch.randn(3, 3, 4).unbind()
    model = Adds()
    assert same(ek.capture(model, (a, b, c))(a[:2], b[:2], c[:2]), model(a, b, c)[:2])
    assert same(ek.capture(model, (a,))(b), model(b))


def test_numbers_among_the_inputs_are_frozen_and_said_so() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, factor: float, bias: Tensor | None = None, flip: bool = False) -> Tensor:
            x = x * factor if bias is None else x * factor + bias
            return -x if flip else x

    x = torch.randn(3, 4)
    graph = ek.capture(Scaled(), (x, 2.5, None, True))
    assert [info.name for info in graph.inputs] == ["x"]
    assert same(graph(x), -(x * 2.5))
    assert any("factor" in note and "2.5" in note for note in graph.notes)
    assert any("flip" in note and "True" in note for note in graph.notes)


def test_a_branch_on_training_is_frozen_and_said_so() -> None:
    model = nets.AsksTraining().train()
    x = torch.randn(3, 4)
    graph = ek.capture(model, x)
    assert same(graph.train()(x), model.eval()(x))
    assert graph.notes == ("the model (AsksTraining) asks self.training: frozen to inference",)


def test_dropout_that_is_always_on_and_averaged_batch_norm_are_said() -> None:
    model = Written(lambda self, x: functional.dropout(self.norm(x)), norm=nn.BatchNorm1d(4, momentum=None))
    notes = ek.capture(model, torch.randn(3, 4)).notes
    assert len(notes) == 2
    assert "dropout" in notes[0]
    assert "nets.py" in notes[0]  # the line of the call
    assert "norm averages over all batches" in notes[1]


def test_tied_weights_are_one_parameter_under_their_first_name() -> None:
    model, graph = captured("tied")
    names = dict(graph.named_parameters())
    assert list(names) == [name for name, _ in model.named_parameters()]
    assert "first.weight" in names


def test_frozen_parameters_stay_frozen() -> None:
    model = nets.NETS["perceptron"].build()
    model.layers[1].weight.requires_grad_(False)
    graph = ek.capture(model, nets.NETS["perceptron"].inputs())
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in graph.named_parameters()} == wanted


def test_a_stopped_gradient_stays_stopped() -> None:
    model = Written(lambda self, x: self.a(x) + self.b(x).detach(), a=nn.Linear(3, 2), b=nn.Linear(3, 2))
    graph = ek.capture(model, torch.randn(2, 3))
    graph(torch.randn(2, 3)).sum().backward()
    grads = {name: p.grad is not None for name, p in graph.named_parameters()}
    assert grads == {"a.weight": True, "a.bias": True, "b.weight": False, "b.bias": False}


def test_a_refusal_names_the_line_and_the_parts_that_work() -> None:
    x = torch.randn(3, 4)
    with pytest.raises(CaptureError) as caught:
        ek.capture(nets.DataDependent(), x)
    text = str(caught.value)
    lines = Path(nets.__file__).read_text().splitlines()
    line = next(i for i, content in enumerate(lines, 1) if "if x.sum() > 0" in content)
    assert re.search(rf"nets\.py:{line}: if x\.sum\(\) > 0", text)
    assert 'submodule="body"' in text
    assert 'submodule="head"' in text
    assert text.index('"body"') < text.index('"head"')  # the larger first


@pytest.mark.parametrize("path", ["body", "head", "body.0"])
def test_a_part_is_captured_on_the_inputs_it_gets(path: str) -> None:
    model = nets.DataDependent().eval()
    graph = ek.capture(model, torch.randn(1, 4), submodule=path)
    part = model.get_submodule(path)
    x = torch.randn(5, part.weight.shape[1] if isinstance(part, nn.Linear) else 4)
    assert same(graph(x), part(x))


def test_where_no_part_works_the_advice_is_another() -> None:
    with pytest.raises(CaptureError, match="Rewrite the line"):
        ek.capture(Written(lambda _, x: x if float(x.sum()) > 0 else -x), torch.randn(3, 4))


def test_parts_that_cannot_be_taken() -> None:
    model = Written(lambda self, x: self.a(x), a=nn.Linear(4, 4), unused=nn.Linear(4, 4))
    with pytest.raises(InputError, match=r"no submodule 'b'.*It has: a, unused"):
        ek.capture(model, torch.randn(3, 4), submodule="b")
    with pytest.raises(InputError, match="'unused' does not run"):
        ek.capture(model, torch.randn(3, 4), submodule="unused")


@pytest.mark.parametrize("example", [None, 3, (), (1, 2), {}, "x"])
def test_example_inputs_without_a_tensor(example: Any) -> None:
    with pytest.raises(InputError, match="example_inputs"):
        ek.capture(nn.Linear(4, 4), example)


def test_a_model_that_fails_or_returns_nothing() -> None:
    with pytest.raises(ModelError, match="fails on the example inputs"):
        ek.capture(nn.Linear(4, 4), torch.randn(3, 5))
    with pytest.raises(ModelError, match="returns no tensor"):
        ek.capture(Written(lambda _, x: x.shape), torch.randn(3, 4))


def test_the_model_gets_its_modes_back_when_capture_fails() -> None:
    model = nets.DataDependent().train()
    with pytest.raises(CaptureError):
        ek.capture(model, torch.randn(3, 4))
    assert all(module.training for module in model.modules())
