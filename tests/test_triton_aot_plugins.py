"""Plugins of TensorRT, held against its own Python bindings, which a script beside the repository installs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aot_kernels
import pytest
from aot_kernels import TESTS, manifest, output

from edgekit.export.triton_aot import ptx

pytest.importorskip("triton")

SURFACE = TESTS.parent.parent / "shared" / "tools" / "trt_surface" / "make.sh"
NAMES = {"DataType.INT8": "int8", "DataType.INT32": "int32", "DataType.FLOAT": "float32"}


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real bindings of several versions of TensorRT over stub libraries."""
    if not SURFACE.exists():
        pytest.skip(f"{SURFACE} is not there: it makes TensorRT's Python bindings importable without TensorRT")
    folder = tmp_path_factory.mktemp("tensorrt")
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", SURFACE, folder], capture_output=True, text=True, check=False, env={"PATH": path, "HOME": str(folder)}
    )
    if done.returncode:
        pytest.skip(f"TensorRT's bindings cannot be installed here: {done.stderr[-300:]}")
    return folder


def surface(bindings: Path, version: str, folder: Path) -> dict[str, Any]:
    text = output(sys.executable, TESTS / "tensorrt_plugins.py", folder, **importing(bindings / version))
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def importing(place: Path) -> dict[str, str]:
    """Variables of a process that imports these bindings."""
    return {"LD_LIBRARY_PATH": str(place / "lib"), "PYTHONPATH": str(place)}


@pytest.mark.parametrize("version", ["10.16", "11.4"])
@pytest.mark.parametrize("name", ["thor-jetpack-7.2", "agx-orin-jetpack-7.2"])
def test_tensorrt_accepts_every_plugin(version: str, name: str, bindings: Path) -> None:
    """Its decorators take the functions, and these give what the manifest says, in TensorRT's own classes."""
    if name.startswith("thor") and not aot_kernels.has_thor():
        pytest.skip("the Triton that is installed does not know Thor")
    folder = aot_kernels.exported() / name
    content, found = manifest(folder), surface(bindings, version, folder)
    assert found["version"].startswith(version)
    assert found["takes_aot"]
    kernels = {kernel["name"]: kernel for kernel in content["kernels"]}
    named = {call["name"]: call for call in content["calls"] if call["tensorrt_plugin"].startswith("edgekit::")}
    assert found["plugins"].keys() == named.keys() == {call["name"] for call in content["calls"]}
    for name_, call in named.items():
        given, (launch,) = found["plugins"][name_], call["launches"]
        kernel = kernels[launch["kernel"]]
        assert given["grid"] == launch["grid"]
        assert (given["block"], given["shared"]) == ([kernel["threads"], 1, 1], kernel["shared_bytes"])
        assert given["symbol"] == kernel["symbol"]
        tensors = [argument for argument in call["arguments"] if "sizes" in argument]
        assert [NAMES[type_] for type_ in given["types"][: len(tensors)]] == [tensor["type"] for tensor in tensors]
        assert set(given["layouts"]) == {"TensorFormat.LINEAR"}
        assert_parameters(given, len(tensors), len(given["outputs"]))
        assert "was compiled for inputs of sizes" in given["refusal"]
    assert found["plugins"]["linear_s8_head"]["outputs"] == [[1, 10]]


def assert_parameters(given: dict[str, Any], inputs: int, outputs: int) -> None:
    """The kernel takes what TensorRT passes: inputs, integers, outputs, and nothing else."""
    types = [parameter.type for parameter in ptx.entry(given["text"]).parameters]
    assert types == ["u64"] * inputs + ["u32"] * len(given["integers"]) + ["u64"] * outputs


def test_tensorrt_10_3_has_no_plugin_module(bindings: Path) -> None:
    """What the launcher-only rule for JetPack 6 rests on."""
    code = "import tensorrt as t, importlib.util as u; print(t.__version__, u.find_spec('tensorrt.plugin'))"
    assert output(sys.executable, "-c", code, **importing(bindings / "10.3")).split() == ["10.3.0", "None"]
