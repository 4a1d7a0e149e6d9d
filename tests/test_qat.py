"""Gradients of fake quantisation, against torch's own and by hand, and training with learned scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import quantised
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import edgekit as ek
from edgekit import train as training
from edgekit.data import Split
from edgekit.errors import UsageError
from edgekit.graph import Graph, edit, patterns
from edgekit.ops import samples, sums
from edgekit.options import QatConfig
from edgekit.train import step_sizes

fake_quantize = torch.ops.edgekit.fake_quantize
modest = settings(deadline=None, max_examples=40)


def exact_and_bound(terms: Tensor) -> tuple[Tensor, Tensor]:
    """Exact sums, and how far the float32 of an ordered sum may be from them, by the docstring of ``ops/sums.py``."""
    exact = torch.tensor([math.fsum(row) for row in terms.tolist()], dtype=torch.float64)
    in_float64 = terms.abs().sum(1) * ((33 + terms.shape[1] / 2**20) * 2.0**-53)
    return exact, in_float64 + (exact.abs() + in_float64) * 2.0**-24 + 2.0**-149


@modest
@given(st.integers(0, 20_000), st.integers(1, 3), st.integers(0, 9))
def test_an_ordered_sum_is_within_its_bound_of_the_exact_one(length: int, rows: int, seed: int) -> None:
    """Terms of both signs and of many magnitudes, which cancel."""
    terms = (samples.f32(rows, length, seed=seed) * torch.exp2(samples.f32(rows, length, seed=seed + 1) * 8)).double()
    exact, bound = exact_and_bound(terms)
    assert bool(((sums.ordered(terms).float().double() - exact).abs() <= bound).all())


def test_a_sum_in_float32_would_break_the_bound() -> None:
    terms = samples.f32(1, 20_000).double()
    exact, bound = exact_and_bound(terms)
    one_by_one = float(np.cumsum(terms[0].numpy().astype(np.float32))[-1])
    assert abs(one_by_one - float(exact)) > float(bound)


def test_the_order_of_a_sum_is_that_of_its_definition() -> None:
    """By plain Python floats: 256 lanes in a chunk of 4096, halves on halves, then the chunks alike."""
    terms = samples.f32(1, 10_000, spread=1e3).double()

    def through_lanes(values: list[float]) -> float:
        lanes = [0.0] * 256
        for i, value in enumerate(values):
            lanes[i % 256] += value
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [a + b for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        return lanes[0]

    values = terms[0].tolist()
    chunks = [through_lanes(values[start : start + 4096]) for start in range(0, len(values), 4096)]
    assert sums.ordered(terms).tolist() == [through_lanes(chunks)]


def theirs(x: Tensor, scale: Tensor, axis: int | None, lo: int, hi: int) -> Tensor:
    """torch's own operator for learned scales. It multiplies by 1 / scale, and 1e30 is negative there: not here."""
    zero = torch.zeros_like(scale)
    if axis is None:
        return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero, lo, hi, 1.0)
    return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero, axis, lo, hi, 1.0)


@modest
@given(st.sampled_from([None, 0, 1]), st.sampled_from([(-128, 127), (-127, 127), (0, 60)]), st.integers(0, 99))
def test_gradients_are_torchs_for_learned_scales(axis: int | None, bounds: tuple[int, int], seed: int) -> None:
    x = samples.f32(5, 40, seed=seed, spread=9)
    x[0, :10] = torch.tensor([0.5, 1.5, -2.5, 127.5, -128.5, 128.5, -127.5, 1e6, -1e6, 0.0]) / 8
    scale = torch.exp2(torch.arange(1 if axis is None else x.shape[axis]) % 3 - 4.0)
    incoming = samples.f32(5, 40, seed=seed + 1)
    got, want = list[Tensor](), list[Tensor]()
    for call, into in ((fake_quantize, got), (theirs, want)):
        leaves = x.clone().requires_grad_(), scale.clone().requires_grad_()
        result = call(*leaves, axis, *bounds)
        into += [result.detach(), *torch.autograd.grad(result, leaves, incoming)]
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])
    torch.testing.assert_close(got[2], want[2], rtol=1e-4, atol=1e-3)  # theirs adds in float32


def test_the_gradient_of_a_scale_by_hand() -> None:
    scale = torch.tensor([0.5], requires_grad=True)
    x = torch.tensor([0.3, 0.9, -70.0, 70.0, float("inf"), float("nan")])
    fake_quantize(x, scale).backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5]))
    q_minus_v = [np.float32(1 - np.float32(0.6)), np.float32(2 - np.float32(1.8))]
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(q_minus_v[0] + 10 * q_minus_v[1] - 12_800 + 127_000 + 1_270_000)


def test_a_gradient_of_a_gradient_goes_through_as_well() -> None:
    x, scale = samples.f32(3, 50, spread=9).requires_grad_(), samples.positive(3, middle=0.05).requires_grad_()
    incoming = samples.f32(3, 50, seed=1).requires_grad_()
    of_x, of_scale = torch.autograd.grad(fake_quantize(x, scale, 0), (x, scale), incoming, create_graph=True)
    (again,) = torch.autograd.grad([of_x, of_scale], incoming, [torch.ones(3, 50), torch.ones(3)])
    steps, slope = (x / scale[:, None]).round(), torch.zeros(3, 50)
    for row in range(3):
        for column in range(50):  # one term at a time, where no sum is rounded
            one = torch.zeros(3, 50)
            one[row, column] = 1
            slope[row, column] = torch.autograd.grad(fake_quantize(x, scale, 0), scale, one)[0][row]
    assert torch.equal(again, ((steps >= -128) & (steps <= 127)) + slope)


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the arguments of every call of the gradient."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[Any, ...]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.ops.edgekit.fake_quantize_backward.default:
            self.seen.append(args)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("learned", [False, True])
def test_the_sum_for_a_scale_is_made_only_where_it_is_asked_for(learned: bool) -> None:
    x, scale = samples.f32(9).requires_grad_(), torch.tensor([0.1], requires_grad=learned)
    result = fake_quantize(x, scale)
    with Calls() as calls:
        result.backward(torch.ones(9))
    (args,) = calls.seen
    assert (args[6] if len(args) > 6 else True) == learned
    assert (scale.grad is not None) == learned


# Training


def blobs(count: int = 90, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    centres = np.array([[3, 0, 0, 0], [0, 3, 0, 0], [0, 0, 3, 0]], np.float32)
    return Split(((centres[targets] + rng.standard_normal((count, 4)) * 0.3).astype(np.float32),), (targets,))


def perceptron(**options: Any) -> Graph:
    torch.manual_seed(3)
    graph = ek.capture(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), torch.zeros(2, 4))
    return ek.quantize(graph, [torch.from_numpy(blobs().inputs[0])], ek.QuantConfig(**options)).graph


def config(**options: Any) -> QatConfig:
    basis: dict[str, Any] = {
        "epochs": 1,
        "learning_rate": 0.05,
        "batch_size": 90,
        "momentum": 0.0,
        "schedule": "constant",
    }
    return QatConfig(**(basis | {"learn_scale": True} | options))


def scales_of(graph: Graph) -> dict[str, Tensor]:
    fakes = [node for node in edit.calls(graph.module) if node.target is patterns.FAKE_QUANTIZE]
    found = {str(patterns.scale_node(fake).target) for fake in fakes}
    return {path: edit.get_by_path(graph.module, path).detach().clone() for path in sorted(found)}


def test_one_step_is_that_of_the_paper() -> None:
    """``s - rate * gradient / sqrt(N * 127)``, N features for an activation and weights of a channel for a weight."""
    graph, split = perceptron(), blobs()
    eager = graph.copy()
    leaves = {path: value.requires_grad_() for path, value in scales_of(eager).items()}
    for path, value in leaves.items():
        edit.set_tensor(eager.module, path, nn.Parameter(value))
    x, targets = torch.from_numpy(split.inputs[0]), torch.from_numpy(split.targets[0])
    nn.functional.cross_entropy(eager(x), targets).backward()  # type: ignore[no-untyped-call]
    after = scales_of(training.train(graph, split, config(), 0).graph)
    counts = {"input_1": 4, "linear_weight": 4, "relu": 16, "linear_1_weight": 16, "linear_1": 3}
    for path, before in scales_of(graph).items():
        gradient = edit.get_by_path(eager.module, path).grad
        assert gradient is not None
        assert float(gradient.abs().max()) > 0, path
        expected = before - 0.05 * gradient / math.sqrt(counts[path.removesuffix("_scale")] * 127)
        torch.testing.assert_close(after[path], expected, rtol=1e-5, atol=1e-9)


def test_learned_scales_fit_better_and_lower_to_the_same_answers() -> None:
    graph, longer = perceptron(), {"epochs": 20, "batch_size": 16}
    fixed = training.train(graph, blobs(), config(learn_scale=False, **longer), 0)
    learned = training.train(graph, blobs(), config(**longer), 0)
    assert learned.report.losses[-1] < fixed.report.losses[-1]  # calibration of the untrained net holds that back
    assert not [name for name, _ in learned.graph.named_parameters() if "scale" in name]  # buffers, as they came
    assert list(learned.graph.module.state_dict()) != []
    before, kept, moved = (scales_of(one) for one in (graph, fixed.graph, learned.graph))
    assert all(torch.equal(before[path], kept[path]) for path in before)
    assert all(not torch.equal(before[path], moved[path]) for path in before)
    integer = ek.lower(learned.graph)
    assert training.accuracy(training.predict(integer), blobs(seed=4)) == 1


def test_scales_beside_an_addition_stay_exact() -> None:
    graph = quantised.quantised("residual")
    learnable, every = step_sizes.paths(graph), scales_of(graph)
    fixed = set()
    for join in [cell for cell in patterns.cells(graph) if edit.is_call(cell.body, torch.ops.aten.add.Tensor)]:
        both = [patterns.bytes_of(edit.operand(join.body, side)) for side in (0, 1)]
        fixed |= {str(join.scale.target), *(str(patterns.scale_node(fake).target) for fake in both)}
    assert fixed == every.keys() - learnable.keys()
    assert len(fixed) == 6


def test_a_scale_for_all_channels_stays_one() -> None:
    result = training.train(perceptron(per_channel=False), blobs(), config(epochs=3, batch_size=16), 0).graph
    for path, scale in scales_of(result).items():
        assert bool((scale == scale.flatten()[0]).all()), path


def test_no_decay_pulls_at_a_scale_and_no_step_makes_it_negative() -> None:
    graph = perceptron()
    scales = step_sizes.learn(graph)
    before = [scale.detach().clone() for scale in scales]
    optimizer = training.optimizers.optimizer(graph, config(weight_decay=0.5), scales)
    step_sizes.keep_positive(optimizer, scales)
    for scale in scales:
        scale.grad = torch.zeros_like(scale)
    optimizer.step()
    assert all(torch.equal(scale, was) for scale, was in zip(scales, before, strict=True))
    for scale in scales:
        scale.grad = torch.full_like(scale, 1e6)
    optimizer.step()
    assert all(torch.equal(scale, was * step_sizes.FLOOR) for scale, was in zip(scales, before, strict=True))


def test_learned_scales_are_seeded_and_resume(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended after every epoch and begun again, the training gives the same bytes."""
    monkeypatch.setattr(training.checkpoint, "EVERY_SECONDS", 0.0)
    graph, options = perceptron(), config(epochs=4, batch_size=16, optimizer="adam")
    whole = training.train(graph, blobs(), options, 0).graph.module.state_dict()

    class Ended(Exception):
        pass

    def until(last: int) -> Callable[[int, int], None]:
        def progress(done: int, _: int) -> None:
            if done > last:
                raise Ended

        return progress

    with pytest.raises(Ended):
        training.train(graph, blobs(), options, 0, checkpoint=tmp_path / "state", progress=until(13))
    resumed = training.train(graph, blobs(), options, 0, checkpoint=tmp_path / "state").graph.module.state_dict()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_float_graph_has_no_scale_to_learn() -> None:
    graph = ek.capture(nn.Linear(4, 3), torch.zeros(2, 4))
    with pytest.raises(UsageError, match="no scale that may be learned"):
        training.train(graph, blobs(), config(), 0)
