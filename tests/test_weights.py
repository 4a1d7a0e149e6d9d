"""Weights of the user's own: what fits is read, tied tensors too, whatever does not fit changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from edgekit import models
from edgekit.errors import ModelError
from edgekit.options import ModelConfig


def config(**args: object) -> ModelConfig:
    return ModelConfig(name="mlp", args={"inputs": 4, "hidden": 6, **args}, weights="w.safetensors")


def saved(folder: Path, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    state = dict(models.create("mlp", inputs=4, hidden=6).state_dict())
    for name, value in changes.items():
        key = name.replace("__", ".")
        state.pop(key, None)
        if value is not None:
            state[key] = value
    save_file(state, folder / "w.safetensors")
    return state


def test_the_model_has_the_values_of_the_file(tmp_path: Path) -> None:
    state = saved(tmp_path)
    torch.manual_seed(4)
    built = models.build(config(), tmp_path).state_dict()
    assert set(built) == set(state)
    assert all(torch.equal(built[name], value) for name, value in state.items())


def test_a_pth_converted_as_the_page_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.create("mlp", inputs=4, hidden=6)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    monkeypatch.chdir(tmp_path)
    code = models.weights.CONVERSION.removeprefix('python -c "').removesuffix('"')
    exec(code, {})
    Path("m.safetensors").rename("w.safetensors")
    built = models.build(config(), tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), model.parameters(), strict=True))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


def test_a_tied_tensor_may_stand_there_once(tmp_path: Path) -> None:
    before, after = Tied(), Tied()
    save_model(before, str(tmp_path / "w.safetensors"))
    models.weights.read_into(after, tmp_path / "w.safetensors")
    assert torch.equal(before.embedding.weight, after.head.weight)
    assert after.head.weight is after.embedding.weight


names = [name for name, _ in models.create("mlp", inputs=4, hidden=6).named_parameters()]
first = names[0].replace(".", "__")
WRONG = {
    "missing": ({first: None}, f"Missing: {names[0]}"),
    "unknown": ({"weihgt": torch.zeros(1)}, "Unknown: weihgt"),
    "shape": ({first: torch.zeros(6, 5)}, r"\[6, 5\]"),
    "type": ({first: torch.zeros(6, 4, dtype=torch.int64)}, "int64"),
    "NaN": ({first: torch.full((6, 4), torch.nan)}, "NaN"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=list(WRONG))
def test_what_does_not_fit_changes_nothing(
    changes: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    saved(tmp_path, **changes)
    model = models.create("mlp", inputs=4, hidden=6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        models.weights.read_into(model, tmp_path / "w.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 100])
def test_a_file_of_another_kind_is_refused_with_the_way_to_convert_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="weights_only=True"):
        models.build(config(), tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        models.build(config(), tmp_path)
