"""Kernels ahead of time: what compiles, what its machine code holds, what is written, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import aot_kernels
import pytest
from aot_kernels import HEAD, manifest

from edgekit.errors import MissingDependency, OutputError, UnsupportedError, UsageError
from edgekit.export import export_kernels
from edgekit.export.triton_aot import calls, planned, ptx, target
from edgekit.export.triton_aot import compile as compiler
from edgekit.export.triton_aot import manifest as manifest_module

pytest.importorskip("triton")

SIZES = "1x4x6x5_2x2_2x2_0x0_1x1_false"
POOL = "max_pool_s8:x=1x4x6x5,kernel=2x2,stride=2x2,padding=0x0,dilation=1x1,ceil_mode=false"
PRODUCTS = {"linear_s8", "linear_dynamic", "conv2d_s8", "matmul_s8", "attention_s8", "gru_s8", "lstm_s8"}


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    return aot_kernels.first_layers()


@pytest.fixture(scope="module")
def exported() -> Path:
    return aot_kernels.exported()


def instructions(text: str) -> list[str]:
    return re.findall(r"^\s*(?:@!?%p\d+ )?([a-z][\w.]+)", text, re.MULTILINE)


def assert_clean(name: str, kernel: dict[str, Any]) -> None:
    """No approximation, contraction only where tl.fma stands, 64-bit addresses, nothing outside registers."""
    words, ttir = instructions(kernel["ptx"]), kernel["ttir"]
    wrong = [word for word in words if re.search(r"div\.full|approx|\.ftz|^mad\..*f(32|64)", word)]
    if "math.fma" not in ttir:
        wrong += [word for word in words if word.startswith("fma")]
    assert not wrong, (name, wrong)
    if "0x4B400000" in ttir:  # the shift by which a value is rounded
        assert {"add.rn.f32", "add.rn.f32x2"} & set(words), name  # its two additions, kept apart
    offsets = re.findall(r"tt\.addptr .* : .*, (?:tensor<[\dx]*)?(i\d+)", ttir)
    assert set(offsets) == {"i64"}, (name, offsets)
    assert kernel["stack"] == 0, name


def assert_all_clean(compiled: dict[str, Any], targets: tuple[str, ...]) -> None:
    assert {name: call["error"] for name, call in compiled.items() if "error" in call} == {}
    operators = {spec.name for spec in calls.with_kernels()}
    for prefix in targets:
        assert {call["operator"] for name, call in compiled.items() if name.startswith(prefix)} == operators
    for name, call in compiled.items():
        assert call["kernels"], name
        for kernel in call["kernels"]:
            assert_clean(name, kernel)


def test_every_kernel_compiles_clean_for_orin_and_thor(compiled: dict[str, Any]) -> None:
    assert_all_clean(compiled, ("agx-orin", "thor") if aot_kernels.has_thor() else ("agx-orin",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120"])
def test_every_layer_compiles_clean_for_every_architecture(name: str) -> None:
    if name == "sm_110" and not aot_kernels.has_thor():
        pytest.skip("the Triton that is installed does not know sm_110")
    assert_all_clean(aot_kernels.compiled(name, "all"), (name,))


def test_products_of_bytes_use_tensor_cores(compiled: dict[str, Any]) -> None:
    """Read off the machine code: the integer instruction for 16 x 8 x 32 bytes."""
    seen = set()
    for name, call in compiled.items():
        cores = {opcode for kernel in call["kernels"] for opcode in kernel["tensor_core"]}
        if call["operator"] in PRODUCTS and "error" not in call:
            assert any(re.match(r"(UTC)?I\w*MMA", opcode) for opcode in cores), (name, cores)
            seen.add(call["operator"])
    assert "linear_s8" in seen


def test_division_is_rounded_correctly(compiled: dict[str, Any]) -> None:
    texts = [kernel["ptx"] for name, call in compiled.items() if "quantize_s8" in name for kernel in call["kernels"]]
    assert texts
    assert all("div.rn.f32" in text for text in texts)


def test_a_kernel_that_spills_or_wants_too_much_is_refused() -> None:
    found = aot_kernels.compiled("orin", "planted")
    assert found["wide"]["code"] == "EK5000"
    assert re.search(r"registers spill on agx-orin: wide_\w+ \([1-9]\d* bytes, [1-9]\d* instr", found["wide"]["error"])
    assert found["greedy"]["code"] == "EK4000"
    assert "a block of sm_87 has 166912" in found["greedy"]["error"]


def test_the_manifest_holds_what_is_there(exported: Path) -> None:
    thor = ["thor-jetpack-7.2"] if aot_kernels.has_thor() else []
    names = sorted(path.name for path in exported.iterdir() if path.is_dir())
    assert names == ["agx-orin", "agx-orin-jetpack-7.2", *thor]
    for folder in (path for path in exported.iterdir() if path.is_dir()):
        content = manifest(folder)
        present = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        del present["manifest.json"]
        assert {name: file["sha256"] for name, file in content["files"].items()} == present
        assert {f for kernel in content["kernels"] for f in kernel["files"]} == {
            name for name in present if name.endswith((".ptx", ".cubin")) and "tensorrt" not in name
        }
        assert any("Not run on a device" in sentence for sentence in content["not_checked"])
        for kernel in content["kernels"]:
            assert kernel["registers"] > 0
            assert (kernel["stack_bytes"], kernel["spill_instructions"]) == (0, 0)
            assert bool(kernel["tensor_core_instructions"]) == kernel["name"].startswith("linear_s8")
            assert 0 < kernel["occupancy"]["share"] <= 1
            assert content["files"][f"{kernel['name']}.ptx"]["bytes"] > 0


def test_versions_are_those_that_the_device_accepts(exported: Path) -> None:
    """JetPack 6 has CUDA 12.6, so PTX 8.5; machine code only where assembler and device share a major version."""
    versions = {}
    for folder in (path for path in exported.iterdir() if path.is_dir()):
        content = manifest(folder)
        texts = [path.read_text() for path in folder.glob("*.ptx")]
        versions[folder.name] = {ptx.version(text) for text in texts}
        major = content["made_by"]["ptxas"].split(".")[0] == content["target"]["cuda"].split(".")[0]
        assert bool(list(folder.glob("*.cubin"))) == major, folder.name
        assert all(re.search(rf"^\.target sm_{content['target']['capability']}a?\b", t, re.M) for t in texts)
        assert not any(str(Path.cwd()) in text or "/tmp" in text or ".py" in text for text in texts)
    assert versions["agx-orin"] == {"8.5"}
    assert all(float(version) <= 9.2 for found in versions.values() for version in found)


def test_tensorrt_10_3_has_no_plugins(exported: Path) -> None:
    folder = exported / "agx-orin"
    assert not (folder / "tensorrt_plugin.py").exists()
    assert {call["tensorrt_plugin"] for call in manifest(folder)["calls"]} == {
        "none: plugins need TensorRT 10.16, and Jetson AGX Orin, JetPack 6 has 10.3."
    }


def test_twice_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    again = aot_kernels.aot(tmp_path, ("orin",), TRITON_CACHE_DIR=str(tmp_path / "cache"))
    for path in (again / "agx-orin").iterdir():
        assert path.read_bytes() == (exported / "agx-orin" / path.name).read_bytes(), path.name


def test_a_directory_with_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OutputError, match="not an empty directory"):
        export_kernels(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_old_assembler_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Triton 3.6 has that of CUDA 12.9, which ends with PTX 8.8."""
    old = compiler.Assembler("ptxas", "12.9", 88)
    monkeypatch.setattr(compiler, "assembler", lambda capability: old)
    assert compiler.ptx_of(target.resolve(["orin:jetpack-7.2"])[0]) == 88
    with pytest.raises(UnsupportedError, match=r"cannot compile for sm_110: its ptxas is 12\.9"):
        export_kernels(tmp_path / "out", ["thor"])


def test_a_missing_triton_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton.backends.nvidia.compiler", None)
    with pytest.raises(MissingDependency, match=r"triton is not installed.*edgekit\[gpu\]"):
        export_kernels(tmp_path / "out", shapes=["no such operator"])


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="kernels are compiled in this process")
def test_interpreted_kernels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="interpreted here and cannot be compiled"):
        export_kernels(tmp_path / "out", shapes=[HEAD])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (["linear_s8"], "names no operator and sizes"),
        (["linear_s9:x=1x2"], "Did you mean 'linear_s8'"),
        (["linear_s8:x=1x64,weights=10x64"], "no argument weights. Did you mean 'weight'"),
        (["linear_s8:x=1x64"], "linear_s8 needs weight: Tensor"),
        (["linear_s8:x=1xq,weight=10x64,bias=10,multiplier=10"], "x=1xq of linear_s8 is no Tensor"),
        (["linear_s8:x=1x65,weight=10x64,bias=10,multiplier=10"], "shapes of linear_s8"),
        (["linear_s8:x=1x64,x=1x64"], "is not one ARGUMENT=VALUE"),
        ([HEAD, HEAD], "two calls are named linear_s8_head"),
        ([f"{POOL},layout=nhwc"], "max_pool_s8 has no layout 'nhwc'. It has channels_last and contiguous."),
        ([{**HEAD, "layout": "channels_last"}], "linear_s8 has no layout 'channels_last'"),
    ],
)
def test_wrong_shapes_are_explained(shapes: list[Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        calls.chosen(shapes)
    assert message in str(error.value)


def test_images_lie_channels_last_unless_a_call_says_otherwise() -> None:
    last, first = calls.chosen([POOL, f"{POOL},layout=contiguous"])
    assert (last.name, first.name) == (f"max_pool_s8_{SIZES}", f"max_pool_s8_{SIZES}_contiguous")
    assert (last.inputs["x"].stride(1), first.inputs["x"].stride(1)) == (1, 30)
    (whole,) = calls.chosen(["conv2d_s8:x=1x4x6x5,weight=8x4x3x3,bias=8,multiplier=8,stride=1x1,padding=1x1,"
                             "dilation=1x1,groups=1,residual=1x8x6x5"])  # fmt: skip
    assert [t.stride(1) for t in whole.inputs.values() if t.dim() == 4] == [1, 1, 1]
    assert manifest_module.described(last.inputs["x"])["layout"] == "channels_last"


def test_a_file_of_shapes_is_read_as_the_text_is(tmp_path: Path) -> None:
    (tmp_path / "shapes.json").write_text(json.dumps([HEAD]))
    (from_file,) = calls.chosen([str(tmp_path / "shapes.json")])
    (from_text,) = calls.chosen(["linear_s8:x=1x64,weight=10x64,bias=10,multiplier=10,lo=0"])
    assert (from_file.name, from_text.name) == ("linear_s8_head", "linear_s8_1x64_10x64_10_10_0")
    assert {n: (t.dtype, t.shape) for n, t in from_file.inputs.items()} == {
        n: (t.dtype, t.shape) for n, t in from_text.inputs.items()
    }
    assert (from_file.arguments["lo"], from_text.arguments["lo"]) == (-128, 0)


@pytest.mark.parametrize("sizes", [("2x1x2x1x2x1x3x4", "1x2x1x2x1x2x4x3"), ("2x3x4", "2x4x3")])
def test_operands_that_must_be_copied_first_are_refused(
    sizes: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would fill the copy on a device."""
    monkeypatch.setattr(planned, "refuse_interpreter", lambda _: None)
    monkeypatch.setattr(planned.Planner, "_planned", lambda *_: None)
    monkeypatch.setattr(planned.PlannedCall, "kernels", ())
    (call,) = calls.chosen([f"matmul_s8:a={sizes[0]},b={sizes[1]},multiplier=0.01"])
    planner = planned.Planner(target.resolve(["orin"])[0])
    if len(sizes[0]) < 8:
        assert [buffer.name for buffer in planner.plan(call).buffers] == ["a", "b", "out"]
    else:
        with pytest.raises(UnsupportedError, match="needs operands copied first"):
            planner.plan(call)


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("orin", [85]),
        ("orin:jetpack-7.2", [92]),
        ("orin:jetpack-5", [74]),
        ("thor", [90]),
        ("rtx", [85, 85, 87]),
        ("sm_100", [86]),
    ],
)
def test_targets_know_their_ptx(name: str, versions: list[int]) -> None:
    assert [found.ptx for found in target.resolve([name])] == versions


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nano", "compute capability 5.3"),
        ("sm_75", "compute capability 7.5"),
        ("pi5", "has no GPU"),
        ("orin:jetpack-8", "has no software 'jetpack-8'"),
        ("orin:jetpack-7.2.2", "is not known"),
        ("orion", "Did you mean"),
    ],
)
def test_what_cannot_be_compiled_for_is_refused(name: str, message: str) -> None:
    with pytest.raises((UsageError, UnsupportedError), match=re.escape(message)):
        target.resolve([name])


def test_a_version_that_would_end_the_process_is_refused() -> None:
    """Triton aborts on PTX 7.3 for sm_87: CUDA 11.3."""
    assert target.ptx_version(87, (11, 4)) == 74
    with pytest.raises(UnsupportedError, match=r"accepts 7\.3, and the architecture begins with 7\.4"):
        target.ptx_version(87, (11, 3))
    with pytest.raises(UnsupportedError, match=r"CUDA 12\.6 has no PTX for sm_110"):
        target.ptx_version(110, (12, 6))
