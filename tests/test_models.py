"""The nets that ship run, learn and are captured; a user's own file is built, or refused by the line."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import tensors
from torch import Tensor, nn
from torch.nn import functional

from edgekit import models
from edgekit.errors import ModelError
from edgekit.graph import Graph, capture, cost
from edgekit.models import transformer
from edgekit.options import ModelConfig

every_net = pytest.mark.parametrize("name", models.names())


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def small(name: str, batch: int = 2) -> tuple[nn.Module, tuple[Tensor, ...]]:
    model, inputs = models.example(name, batch, **models.MODELS[name].small)
    return model, inputs


@functools.cache
def captured(name: str) -> tuple[nn.Module, Graph]:
    """A small net with statistics that are not those of a fresh layer, and its graph; no warning is allowed."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(1)
        model, inputs = small(name)
        model.train()(*inputs)
        warnings.simplefilter("error")
        return model.eval(), capture(model, inputs)


@every_net
def test_every_net_is_captured_with_a_dynamic_batch_and_equal_results(name: str) -> None:
    model, graph = captured(name)
    assert graph.notes == ()
    assert all(info.shape[0] is None for info in graph.inputs)
    for batch in (1, 3):
        inputs = models.example_inputs(name, batch, seed=batch, **models.MODELS[name].small)
        with torch.no_grad():
            expected, results = tensors(model(*inputs)), tensors(graph(*inputs))
        assert len(expected) == len(results)
        for want, got in zip(expected, results, strict=True):
            # To the bit on most processors. On some a step of size 1 in a view decides which kernel oneDNN takes, which
            # adds the same products in another order: some roundings of float32, far below what a wrong layer is off.
            assert float((want - got).abs().max()) <= 64 * 2**-24 * (1 + float(want.abs().max()))
            assert torch.isfinite(got).all()


SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "mlp": ((10,),),
    "resnet8": ((10,),),
    "resnet18": ((10,),),
    "resnet50": ((10,),),
    "ds_cnn": ((12,),),
    "mobilenet_v1": ((2,),),
    "mobilenet_v2": ((10,),),
    "autoencoder": ((40,),),
    "tcn": ((4,),),
    "gru_classifier": ((12,),),
    "lstm_classifier": ((12,),),
    "text_cnn": ((5,),),
    "encoder": ((2,),),
    "decoder": ((12, 40),),
    "vit": ((10,),),
    "two_tower": ((32,), (32,)),
}


@every_net
def test_the_outputs_have_the_shape_of_the_task(name: str) -> None:
    model, _ = captured(name)
    for batch in (1, 3):
        outputs = tensors(model(*models.example_inputs(name, batch, **models.MODELS[name].small)))
        assert [tuple(y.shape) for y in outputs] == [(batch, *shape) for shape in SHAPES[name]]


@every_net
def test_a_step_down_the_gradient_lowers_the_loss(name: str) -> None:
    model, inputs = small(name, batch=8)
    targets = [torch.randn_like(y) for y in tensors(model(*inputs))]

    def loss() -> Tensor:
        torch.manual_seed(2)  # the same dropout before and after
        pairs = zip(tensors(model(*inputs)), targets, strict=True)
        return torch.stack([functional.mse_loss(y, target) for y, target in pairs]).sum()

    before = loss()
    before.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    assert loss() < before


@every_net
def test_both_ways_of_counting_agree(name: str) -> None:
    """Torch counts operations as they run on the meta device; edgekit counts the calls of a captured graph."""
    row = models.describe(name, **models.MODELS[name].small)
    model, graph = captured(name)
    assert row.macs == cost.total_macs(graph)
    assert row.parameters == cost.total_parameters(graph) == parameters(model)


def test_the_table_has_a_row_for_every_net() -> None:
    rows = models.table()
    assert tuple(row.name for row in rows) == models.names() == tuple(SHAPES)
    lines = models.show(rows).splitlines()
    assert "| `resnet18` | image 3x224x224 | 11,689,512 | 1,814 M | He et al. 2016 |" in lines
    assert "tokens 16" in next(line for line in lines if "`two_tower`" in line)
    assert len(lines) == len(rows) + 2


@every_net
def test_example_inputs_follow_batch_and_seed_alone(name: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (models.example_inputs(name, 5, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for x, same, different in zip(first, again, other, strict=True):
        assert len(x) == 5
        assert torch.equal(x, same)
        assert not torch.equal(x, different)


def test_example_inputs_follow_the_arguments() -> None:
    assert models.example_inputs("resnet8", 1, in_channels=1, size=9)[0].shape == (1, 1, 9, 9)
    image, tokens = models.example_inputs("two_tower", 4, vocabulary=3, length=50)
    assert image.shape == (4, 3, 32, 32)
    assert set(tokens.unique().tolist()) == {0, 1, 2}


@pytest.mark.parametrize(("width", "channels", "classes", "size"), [(16, 3, 10, 32), (4, 1, 3, 8), (1, 2, 1, 5)])
def test_resnet8_halves_the_image_twice(width: int, channels: int, classes: int, size: int) -> None:
    model = models.create("resnet8", in_channels=channels, classes=classes, width=width).eval()
    shapes: list[torch.Size] = []
    for stack in (model.stack1, model.stack2, model.stack3):
        stack.register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape))
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)
    half, quarter = -(-size // 2), -(-size // 4)
    assert [shape[1:] for shape in shapes] == [
        (width, size, size),
        (2 * width, half, half),
        (4 * width, quarter, quarter),
    ]


def test_mlp_takes_images_and_rows() -> None:
    model = models.create("mlp", hidden=7)
    assert parameters(model) == 64 * 7 + 7 + 7 * 7 + 7 + 7 * 10 + 10
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(model(images), model(images.reshape(3, 64)))
    assert model(images).shape == (3, 10)


@every_net
def test_the_seed_of_torch_decides_the_weights(name: str) -> None:
    built = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        built.append(torch.cat([p.flatten() for p in small(name)[0].parameters()]))
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


def test_the_decoder_sees_no_future() -> None:
    model, _ = captured("decoder")
    tokens = torch.randint(40, (3, 12))
    changed = tokens.clone()
    changed[:, 7] = (tokens[:, 7] + 1) % 40
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    for step in range(7, 12):
        assert not torch.equal(before[:, step], after[:, step])
    torch.testing.assert_close(model(tokens[:, :7]), before[:, :7])


def test_the_tcn_sees_no_future_and_as_far_back_as_it_says() -> None:
    torch.manual_seed(0)
    model = models.create("tcn", depth=3).eval()
    reach = 1 + 2 * (3 - 1) * (2**3 - 1)
    series = torch.randn(1, 8, 60, requires_grad=True)
    model.body(series)[0, :, 40].sum().backward()
    touched = series.grad[0].abs().sum(0).nonzero().flatten().tolist()
    assert (touched[0], touched[-1]) == (40 - reach + 1, 40)


def test_the_decoder_shares_its_token_vectors_with_its_last_layer() -> None:
    tied = models.create("decoder", vocabulary=40, width=16)
    assert tied.head.weight is tied.embedding.token.weight
    assert parameters(models.create("decoder", vocabulary=40, width=16, tied=False)) == parameters(tied) + 40 * 16


def test_no_step_attends_to_padding() -> None:
    torch.manual_seed(0)
    arguments = models.MODELS["encoder"].small
    model = models.create("encoder", **arguments, padding=0).eval()
    text = torch.randint(1, 40, (3, 5))
    padded = functional.pad(text, (0, 7))
    torch.testing.assert_close(model(padded), model(text))
    graph = capture(model, (padded,))
    assert torch.equal(graph(padded[:1]), model(padded[:1]))
    model.padding = None
    assert (model(padded) - model(text)).abs().max() > 1e-4


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_the_one_of_torch(norm_first: bool, causal: bool) -> None:
    torch.manual_seed(0)
    block = transformer.Block(16, 4, expansion=3, dropout=0.0, norm_first=norm_first, causal=causal)
    layer = nn.TransformerEncoderLayer(16, 4, 48, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    for p in block.parameters():
        nn.init.normal_(p, std=0.3)
    own, attention = block.attention, layer.self_attn
    attention.in_proj_weight.data = torch.cat([own.query.weight, own.key.weight, own.value.weight])
    attention.in_proj_bias.data = torch.cat([own.query.bias, own.key.bias, own.value.bias])
    attention.out_proj, layer.norm1, layer.norm2 = own.output, block.norm1, block.norm2
    layer.linear1, layer.linear2 = block.feed_forward[0], block.feed_forward[2]
    x = torch.randn(3, 7, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(7) if causal else None
    torch.testing.assert_close(block(x), layer(x, src_mask=mask), rtol=1e-4, atol=1e-5)


def test_the_vectors_of_both_towers_have_length_one() -> None:
    model, _ = captured("two_tower")
    for vector in tensors(model(*small("two_tower")[1])):
        torch.testing.assert_close(vector.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("resnet9", {}, "Did you mean 'resnet"),
        ("resnet8", {"channels": 3}, "resnet8 takes no argument 'channels'. Did you mean 'in_channels'"),
        ("resnet18", {"size": 32}, "takes no argument 'size'"),
        ("mlp", {"hidden": 0}, "hidden=0"),
        ("mlp", {"hidden": 2.0}, "hidden=2.0"),
        ("mlp", {"hidden": True}, "hidden=True"),
        ("mlp", {"classes": "ten"}, "classes='ten'"),
        ("encoder", {"width": 10, "heads": 3}, "width=10 cannot be shared by heads=3"),
        ("vit", {"size": 33}, "size=33 cannot be cut into patches of 4"),
        ("mobilenet_v1", {"width": 0.0}, "width=0.0 leaves no channels"),
        ("mobilenet_v2", {"dropout": 1.5}, "dropout probability"),
        ("mobilenet_v2", {"width": "wide"}, "TypeError|ValueError"),
    ],
)
def test_an_unknown_name_or_argument_is_refused(name: str, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        models.create(name, **arguments)
    assert caught.value.exit_code == 3


def test_an_unknown_size_of_an_input_is_refused() -> None:
    with pytest.raises(ModelError, match=r"resnet18 takes no argument 'sizes'\. Did you mean 'size'"):
        models.example_inputs("resnet18", sizes=32)
    with pytest.raises(ModelError, match="size=0"):
        models.example_inputs("resnet18", size=0)


USER = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Options:
    width: int

def net(width):
    assert width > 0, "width must be positive"
    return nn.Linear(8, Options(width).width)

ready = nn.Linear(8, 2)
number = 7
"""


def own(folder: Path, text: str, name: str, **args: int) -> nn.Module:
    (folder / "my_net.py").write_text(text)
    return models.build(ModelConfig(file="my_net.py", object=name, args=dict(args)), folder)


def test_a_users_function_class_or_module_is_built(tmp_path: Path) -> None:
    assert own(tmp_path, USER, "net", width=5)(torch.zeros(1, 8)).shape == (1, 5)
    assert own(tmp_path, USER, "ready")(torch.zeros(1, 8)).shape == (1, 2)
    assert isinstance(models.build(ModelConfig(name="mlp", args={"hidden": 3})), nn.Sequential)


@pytest.mark.parametrize(
    ("text", "name", "args", "expected"),
    [
        (USER, "nett", {}, r"no object 'nett'\. Did you mean 'net'"),
        (USER, "net", {"width": 0}, r"my_net\.py, line 10\): AssertionError: width must be positive"),
        (USER, "net", {}, "TypeError"),
        (USER, "number", {}, "TypeError: 'int' object is not callable"),
        (USER, "Options", {"width": 1}, "gives a Options, not a torch.nn.Module"),
        (USER, "ready", {"width": 1}, "takes no arguments"),
        ("\n\n1 / 0\n", "net", {}, r"fails to load \(my_net\.py, line 3\): ZeroDivisionError"),
        ("def net(:\n", "net", {}, r"fails to load \(line 1\): SyntaxError"),
        ("import not_a_module_at_all\n", "net", {}, "line 1.*not_a_module_at_all"),
        ("raise SystemExit(0)\n", "net", {}, "SystemExit"),
    ],
)
def test_what_is_wrong_with_a_users_file_is_said(
    tmp_path: Path, text: str, name: str, args: dict[str, int], expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        own(tmp_path, text, name, **args)


def test_a_missing_file_or_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.txt").write_text(USER)
    for file, expected in (("none.py", "There is no file"), ("net.txt", r"must end in \.py")):
        with pytest.raises(ModelError, match=expected):
            models.build(ModelConfig(file=file, object="net"), tmp_path)
