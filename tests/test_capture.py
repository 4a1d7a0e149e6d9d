"""A captured graph is the model: to the bit, in both modes, for every batch, and the model does not notice."""

from __future__ import annotations

import nets
import pytest
import torch
from nets import Written, captured, same
from torch import Tensor, nn

import edgekit as ek
from edgekit.graph import edit

EVERY_NET = pytest.mark.parametrize("name", sorted(nets.NETS))


@EVERY_NET
def test_inference_is_equal_to_the_bit_for_every_batch(name: str) -> None:
    model, graph = captured(name)
    for batch in (1, 4, 7):
        inputs = nets.NETS[name].inputs(batch, seed=batch)
        assert same(graph(*inputs), model(*inputs))


@EVERY_NET
def test_training_mode_is_equal_to_the_bit_and_can_be_left_again(name: str) -> None:
    model, graph = captured(name)
    inputs = nets.NETS[name].inputs(4)
    before = graph(*inputs)
    torch.manual_seed(5)
    expected = model.train()(*inputs)
    torch.manual_seed(5)
    assert same(graph.train()(*inputs), expected)
    random = any(isinstance(m, (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d)) for m in model.modules())
    random |= any(getattr(m, "dropout", 0) and isinstance(m, (nn.GRU, nn.MultiheadAttention)) for m in model.modules())
    assert same(expected, before) != random  # else the mode would not matter here
    assert same(graph.eval()(*inputs), model.eval()(*inputs))


@EVERY_NET
def test_five_steps_of_training_leave_the_same_weights(name: str) -> None:
    model, graph = captured(name)
    inputs = nets.NETS[name].inputs(6)
    weights = []
    for subject, parameters in ((model.train(), model.named_parameters()), (graph.train(), graph.named_parameters())):
        kept = dict(parameters)
        optimizer = torch.optim.SGD(kept.values(), lr=0.05, momentum=0.9)
        torch.manual_seed(7)
        for _ in range(5):
            optimizer.zero_grad()
            sum(output.square().mean() for output in nets.tensors(subject(*inputs))).backward()
            optimizer.step()
        weights.append(kept)
    assert list(weights[0]) == list(weights[1])
    for key, expected in weights[0].items():
        assert torch.equal(weights[1][key], expected), key
    buffers = dict(graph.module.named_buffers())
    for key, expected in model.named_buffers():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(buffers[key], expected), key


@pytest.mark.parametrize("name", ["residual", "two-inputs", "attention-weights", "tied"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    model = nets.NETS[name].build()
    children = [module for module in model.modules() if module is not model]
    children[0].train()  # a mix of modes must come back, too
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    graph = ek.capture(model, nets.NETS[name].inputs())
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    mine = {value.untyped_storage().data_ptr() for value in model.state_dict().values() if value.numel()}
    theirs = {value.untyped_storage().data_ptr() for value in graph.module.state_dict().values()}
    assert not mine & theirs


def test_a_copy_is_independent() -> None:
    _, graph = captured("residual")
    inputs = nets.NETS["residual"].inputs()
    before = graph(*inputs)
    copy = graph.copy().train()
    with torch.no_grad():
        for _, parameter in copy.named_parameters():
            parameter.zero_()
    call = next(edit.calls(copy.module))
    call.replace_all_uses_with(edit.input_node(call), propagate_meta=False, delete_user_cb=lambda _: False)
    edit.set_tensor(copy.module, "head.weight", nn.Parameter(torch.zeros(1)))
    assert same(graph(*inputs), before)
    assert not graph.module.training


def test_dropout_is_a_node_of_its_own_in_attention_that_gives_its_weights() -> None:
    """The weights that the module returns have passed dropout, as in eager."""
    attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True).eval()
    x = torch.randn(3, 6, 8)
    graph = ek.capture(Written(lambda self, x: self.a(x, x, x), a=attention), x)
    torch.manual_seed(3)
    expected = attention.train()(x, x, x)
    torch.manual_seed(3)
    assert same(graph.train()(x), expected)
    assert bool((expected[1] == 0).any())


def test_attention_without_dropout_has_no_dropout_node() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    graph = ek.capture(Written(lambda self, x: self.a(x, x, x)[0], a=attention), torch.randn(3, 6, 8))
    assert not any("dropout" in node.name for node in edit.calls(graph.module))
    assert graph.attention_dropout == {}


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM])
def test_recurrent_dropout_follows_the_mode(layer: type[nn.RNNBase]) -> None:
    x = torch.randn(3, 5, 4)
    model = Written(lambda self, x: self.layer(x)[0], layer=layer(4, 6, 2, batch_first=True, dropout=0.5)).eval()
    graph = ek.capture(model, x)
    assert same(graph(x), model(x))
    torch.manual_seed(1)
    expected = model.train()(x)
    torch.manual_seed(1)
    assert same(graph.train()(x), expected)
    assert not same(expected, model.eval()(x))


def test_norm_without_statistics_uses_its_input_in_both_modes() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3)).eval()
    x = torch.randn(4, 3, 5, 5)
    graph = ek.capture(model, x)
    for mode in (False, True, False):
        assert same(graph.train(mode)(x), model.train(mode)(x))


def test_a_counter_in_the_model_counts_from_where_the_model_was() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("runs", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.runs.add_(1)
            return x * self.runs

    model = Counting()
    x = torch.ones(2, 3)
    graph = ek.capture(model, x).refresh()
    assert float(model.runs) == 0
    assert [float(graph(x)[0, 0]) for _ in range(3)] == [1, 2, 3]
    assert float(model.runs) == 0
