"""The nets that ship have the published shape; a user's own file is built, or refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit import models
from edgekit.errors import ModelError
from edgekit.recipe import ModelConfig


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet8_is_the_net_of_mlperf_tiny() -> None:
    """Counted by hand from the published layers: biases stand in the skips and the classifier only.

    Stem 3*16*9, batch norm 2*16; stacks of (in*out + out*out)*9 + 4*out, and in*out + out for the two strided skips.
    """
    stem = 3 * 16 * 9 + 2 * 16
    stacks = [(i * o + o * o) * 9 + 4 * o for i, o in ((16, 16), (16, 32), (32, 64))]
    skips = [16 * 32 + 32, 32 * 64 + 64]
    assert parameters(models.create("resnet8")) == stem + sum(stacks) + sum(skips) + 64 * 10 + 10


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


@pytest.mark.parametrize("name", models.names())
def test_the_seed_of_torch_decides_the_weights(name: str) -> None:
    built = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        built.append(torch.cat([p.flatten() for p in models.create(name).parameters()]))
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


def test_an_unknown_name_or_argument_is_refused() -> None:
    with pytest.raises(ModelError, match="Did you mean 'resnet8'"):
        models.create("resnet18")
    with pytest.raises(ModelError, match="'channels'") as caught:
        models.create("resnet8", channels=3)
    assert caught.value.exit_code == 3


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
