"""One party of ``engine.py`` in a process of its own: loads a file, then times blocks of bare calls when it is asked.

    python benchmarks/engine_worker.py '{"engine": "onnxruntime", "file": ..., "item": ..., ...}'

Thread pools of several runtimes in one process get in each other's way; here each has its own process, all pinned to
the same cores, and only one is asked at a time. What is timed is the runtime's own entry point, inputs already in
place, without the Python that packages wrap around it. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.bench.clock import measure

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Loaded:
    """A file ready to run.

    Attributes:
        call: what is timed; its input is in place.
        outputs: what the last call gave.
        facts: what the runtime says of itself.
    """

    call: Callable[[], Any]
    outputs: Callable[[], Arrays]
    facts: dict[str, Any]


def edgekit(file: str, item: NDArray[Any], threads: int, isa: str | None = None) -> Loaded:
    """The native engine."""
    import edgekit as ek

    runner: Any = ek.load(file, threads=threads, isa=isa)
    outputs = list(runner.run(item))
    layers = [
        {"name": one.name, "kernel": one.kernel, "why": one.reason, "macs": one.macs, "us": 1e6 * one.seconds}
        for one in runner.profile(item)
    ]
    facts = {"isa": runner.isa, "arena_bytes": runner.arena_bytes, "layers": layers}
    return Loaded(runner._engine.bind([item], outputs), lambda: outputs, facts)


def onnxruntime(file: str, item: NDArray[Any], threads: int) -> Loaded:
    """Every optimisation, its threads spinning as they do unasked."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    bound = session.io_binding()
    bound.bind_ortvalue_input(session.get_inputs()[0].name, ort.OrtValue.ortvalue_from_numpy(item))
    for output in session.get_outputs():
        bound.bind_output(output.name)
    call = functools.partial(session._sess.run_with_iobinding, bound._iobinding, None)
    return Loaded(call, lambda: [one.numpy() for one in bound.get_outputs()], {})


def openvino(file: str, item: NDArray[Any], threads: int, **hints: str) -> Loaded:
    """Tuned for latency."""
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **hints}
    compiled = ov.Core().compile_model(file, "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(item))
    bare = next(one for one in type(request).__mro__ if one.__module__.endswith("_pyopenvino")).infer
    facts = {"precision": str(compiled.get_property("INFERENCE_PRECISION_HINT"))}
    call = functools.partial(bare, request, {}, True, False)
    return Loaded(call, lambda: [np.array(one.data) for one in request.output_tensors], facts)


def litert(file: str, item: NDArray[Any], threads: int, delegates: bool = True) -> Loaded:
    """XNNPACK where it takes the operators, unless told not to; bytes of an int8 file are rounded before."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    kind = OpResolverType.AUTO if delegates else plain
    runner = Interpreter(file, num_threads=threads, experimental_op_resolver_type=kind)
    runner.allocate_tensors()
    (reads,), (writes,) = runner.get_input_details(), runner.get_output_details()
    values, (scale, zero) = item.transpose(0, 2, 3, 1) if item.ndim == 4 else item, reads["quantization"]
    if scale:
        values = np.clip(np.rint(values / scale) + zero, -128, 127)
    runner.set_tensor(reads["index"], values.astype(reads["dtype"]))

    def outputs() -> Arrays:
        found, (scale, zero) = runner.get_tensor(writes["index"]), writes["quantization"]
        return [(found.astype(np.float32) - zero) * np.float32(scale) if scale else found]

    return Loaded(runner._interpreter.Invoke, outputs, {})


ENGINES: dict[str, Callable[..., Loaded]] = {
    "edgekit": edgekit,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "litert": litert,
}


def answer(loaded: Loaded, asked: dict[str, Any]) -> dict[str, Any]:
    """Times a block of calls, or writes the outputs of one more call to a file."""
    if "outputs" in asked:
        loaded.call()
        np.savez(asked["outputs"], *loaded.outputs())
        return {}
    return {"ns": measure(loaded.call, **asked).ns}


def main() -> None:
    """Pin, load, run once, answer until the requests end."""
    asked = json.loads(sys.argv[1])
    os.sched_setaffinity(0, asked["cores"])
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a runtime prints is no answer
    item = np.load(Path(asked["item"]))
    loaded = ENGINES[asked["engine"]](asked["file"], item, asked["threads"], **asked["options"])
    loaded.call()
    print(json.dumps({"facts": loaded.facts}), file=lines)
    for line in sys.stdin:
        print(json.dumps(answer(loaded, json.loads(line))), file=lines)


if __name__ == "__main__":
    main()
