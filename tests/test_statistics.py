"""Statistics of calibration data: gathered apart, merged, quantised from, and refused where they do not belong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantised import Written, build, conv, items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.errors import CalibrationError, OutputError, UsageError
from edgekit.graph import Graph
from edgekit.quant import Statistics, collect, statistics

OBSERVERS = ("minmax", "moving_average", "percentile", "entropy", "mse")


def branches(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    """Two branches that a concatenation makes share one scale."""
    both = torch.cat([functional.relu(layers["a"](x)), layers["b"](x)], 1)
    return layers["head"](both).mean((2, 3))


@cache
def graph(seed: int = 1) -> Graph:
    model = build(Written(branches, a=conv(3, 4), b=conv(3, 2), head=conv(6, 3)))
    with torch.no_grad():
        model.layers["a"].bias.add_(0.01 * seed)  # type: ignore[union-attr,operator,index]
    return ek.capture(model, items((3, 6, 6), 2))


def data() -> Tensor:
    return items((3, 6, 6), 48)


def file(folder: Path) -> Path:
    path = folder / "stats.json"
    statistics.write(collect(graph(), [data()]), path)
    return path


@pytest.mark.parametrize("observer", OBSERVERS)
def test_quantising_from_statistics_is_quantising_from_the_data(observer: str, tmp_path: Path) -> None:
    """One item a sample: the forward passes are the same, and so is every byte of the result."""
    singles, config = data().split(1), ek.QuantConfig(observer=observer)  # type: ignore[arg-type]
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for path, part in zip(paths, (singles[:5], singles[5:20], singles[20:]), strict=True):
        statistics.write(collect(graph(), part), path)
    seen = statistics.merged(map(statistics.read, paths))
    assert seen == collect(graph(), singles)
    result, want = ek.quantize(graph(), seen, config), ek.quantize(graph(), singles, config)
    assert result.report == want.report
    assert result.report.samples == 48
    got, expected = (one.graph.module.state_dict() for one in (result, want))
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in got)


@settings(deadline=None, max_examples=6)
@given(st.lists(st.integers(1, 47), max_size=3, unique=True))
def test_merging_is_seeing_all_of_it(cuts: list[int]) -> None:
    parts = torch.tensor_split(data(), sorted(cuts))
    seen = statistics.merged(collect(graph(), part.split(1)) for part in parts)
    assert seen == collect(graph(), data().split(1))


def test_a_file_holds_them_to_the_bit_and_no_sample(tmp_path: Path) -> None:
    seen = collect(graph(), data().split(7))
    path = tmp_path / "stats.json"
    statistics.write(seen, path)
    first = path.read_bytes()
    assert statistics.read(path) == seen
    statistics.write(statistics.read(path), path)
    assert path.read_bytes() == first
    names = {"x", "relu", "conv2d_1", "conv2d_2", "mean"}
    assert names >= set(json.loads(first)["tensors"]) > {"x", "conv2d_2"}


def test_counts_of_samples_add_up_before_the_least_is_asked_for() -> None:
    few = [collect(graph(), [part]) for part in data()[:36].split(12)]
    for one in few:
        with pytest.raises(CalibrationError, match="12 samples; at least 32"):
            ek.quantize(graph(), one)
    assert ek.quantize(graph(), statistics.merged(few)).report.samples == 36
    assert ek.quantize(graph(), few[0], ek.QuantConfig(allow_few=True)).report.samples == 12


def test_statistics_of_another_model_are_refused(tmp_path: Path) -> None:
    """Another model is also one whose weights differ, or of which other tensors are quantised."""
    seen = statistics.read(file(tmp_path))
    kept = ek.QuantConfig(keep_float=("conv2d_2",))
    with pytest.raises(CalibrationError, match="another model"):
        ek.quantize(graph(2), seen)
    with pytest.raises(CalibrationError, match="another model"):
        ek.quantize(graph(), seen, kept)
    with pytest.raises(CalibrationError, match="another model"):
        _ = seen + collect(graph(2), [data()])
    assert ek.quantize(graph(), collect(graph(), [data()], kept), kept).report.samples == 48


def test_statistics_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    path = file(tmp_path)
    content = json.loads(path.read_bytes())
    del content["tensors"]["x"]
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match="another model"):
        ek.quantize(graph(), statistics.read(path))
    with pytest.raises(CalibrationError, match="another model"):
        _ = collect(graph(), [data()]) + statistics.read(path)


def test_presets_that_look_at_channels_want_the_data() -> None:
    balanced = ek.QuantConfig(preset="balanced")
    with pytest.raises(UsageError, match="channels"):
        collect(graph(), [data()], balanced)
    with pytest.raises(UsageError, match="channels"):
        ek.quantize(graph(), collect(graph(), [data()]), balanced)


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [([], "empty"), ([torch.zeros(2, 3, 6, 5)], "sample 0"), ([torch.full((2, 3, 6, 6), torch.nan)], "sample 0")],
    ids=["nothing", "shape", "nan"],
)
def test_bad_data_is_refused_where_it_is(calibration: list[Tensor], expected: str) -> None:
    with pytest.raises(CalibrationError, match=expected):
        collect(graph(), calibration)


Change = Callable[[dict[str, Any]], object]
TENSOR = "conv2d_2"


def of(change: Change) -> Change:
    return lambda content: change(content["tensors"][TENSOR])


def move_last(tensor: dict[str, Any]) -> None:
    last = max(index for index, count in enumerate(tensor["histogram"]) if count)
    tensor["histogram"][last] -= 1
    tensor["histogram"][min(last + 1, 2047)] += 1


BROKEN: dict[str, Change] = {
    "another version": lambda c: c.update(edgekit_statistics=2),
    "no version": lambda c: c.pop("edgekit_statistics"),
    "a key of its own": lambda c: c.update(note="hello"),
    "no hash": lambda c: c.update(model="resnet"),
    "no samples": lambda c: c.update(samples=0),
    "half a sample": lambda c: c.update(samples=1.5),
    "samples as text": lambda c: c.update(samples="64"),
    "no tensors": lambda c: c.update(tensors={}),
    "a tensor that is none": lambda c: c["tensors"].update(x=None),
    "bins": of(lambda t: t["histogram"].pop()),
    "a negative count": of(lambda t: t["histogram"].__setitem__(0, -1)),
    "a count that is none": of(lambda t: t["histogram"].__setitem__(0, 0.5)),
    "a huge count": of(lambda t: t["histogram"].__setitem__(0, 2**62)),
    "NaN": of(lambda t: t.update(most=float("nan"))),
    "infinite": of(lambda t: t["peaks"].__setitem__(0, float("inf"))),
    "a negative peak": of(lambda t: t["peaks"].__setitem__(0, -1.0)),
    "another peak": of(lambda t: t["peaks"].append(t["peaks"][0] * 1.5)),
    "no peaks": of(lambda t: t["peaks"].clear()),
    "another range": of(lambda t: t.update(exponent=t["exponent"] + 1)),
    "a range of its own": of(lambda t: t.update(exponent=-117)),
    "extremes": of(lambda t: t.update(least=t["most"], most=t["least"])),
    "a value beyond the largest": of(move_last),
    "no values": of(lambda t: t.update(histogram=[0] * 2048)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_contradicts_itself_is_refused(name: str, tmp_path: Path) -> None:
    path = file(tmp_path)
    sound = json.loads(path.read_bytes())
    broken = copy.deepcopy(sound)
    BROKEN[name](broken)
    assert broken != sound
    path.write_text(json.dumps(broken))
    with pytest.raises(CalibrationError, match="does not hold calibration statistics") as caught:
        statistics.read(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[1, 2]", b"{}", b"[" * 100_000, b"1" * 10_000])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match="does not hold calibration statistics"):
        statistics.read(path)


def test_files_that_cannot_be_read_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(CalibrationError, match="cannot be read"):
            statistics.read(path)
    with pytest.raises(OutputError):
        statistics.write(collect(graph(), [data()]), tmp_path / "absent" / "stats.json")
    monkeypatch.setattr(statistics, "MAX_BYTES", 100)
    with pytest.raises(CalibrationError, match="over the 100 bytes"):
        statistics.read(file(tmp_path))


def test_a_module_will_do() -> None:
    model = build(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    x = items((4,))
    seen = collect(model, [x], example_inputs=x)
    assert isinstance(seen, Statistics)
    assert ek.quantize(model, seen, example_inputs=x).report == ek.quantize(model, [x], example_inputs=x).report
