"""A float ``.tflite`` file as a torch module: convolutions, linear layers, additions, pools; and LiteRT as its oracle.

Weights and options come from the file itself, operator by operator. Images are [N, H, W, C] there and [N, C, H, W]
here. A softmax at the end is left out, because logits are what two quantisers can be compared by.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

SAME = 0  # of the file's two ways to pad
_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {0: lambda x: x, 1: torch.relu, 3: functional.relu6}


class TfliteNet(nn.Module):
    """The operators of a file in order; takes and returns what its first input and its logits are."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        from ai_edge_litert import schema_py_generated as schema

        model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self._graph = model.subgraphs[0]
        self._stored = [model.buffers[tensor.buffer].data for tensor in self._graph.tensors]
        self.layers = nn.ModuleList()
        self._reads: list[list[int]] = []
        self._writes: list[int] = []
        for operator in self._graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name == "SOFTMAX":
                continue
            self.layers.append(_BUILD[name](self, operator))
            self._reads.append([int(i) for i in operator.inputs if i >= 0 and self._stored[i] is None])
            self._writes.append(int(operator.outputs[0]))
        self._input, self.logits = int(self._graph.inputs[0]), self._writes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Run the operators."""
        values = {self._input: x}
        for layer, reads, writes in zip(self.layers, self._reads, self._writes, strict=True):
            values[writes] = layer(*(values[i] for i in reads))
        return values[self.logits]

    def shape(self, index: int) -> list[int]:
        """The shape of a tensor as the file has it."""
        return [int(size) for size in self._graph.tensors[index].shape]

    def stored(self, index: int) -> Tensor:
        """A tensor of the file as float32; one that it holds as int8 with one scale is dequantised."""
        tensor, data = self._graph.tensors[index], np.array(self._stored[index], np.uint8)
        values = data.view(np.int8 if self._is_int8(index) else np.float32).astype(np.float32)
        if self._is_int8(index):
            values *= np.float32(tensor.quantization.scale[0])
        return torch.from_numpy(values.reshape(self.shape(index)))

    def _is_int8(self, index: int) -> bool:
        return bool(self._graph.tensors[index].quantization.scale is not None)

    @property
    def hybrid(self) -> bool:
        """Whether the file holds weights as int8 and reads them in float, as LiteRT's dynamic range does."""
        return any(self._is_int8(i) for i, data in enumerate(self._stored) if data is not None)


class _Padded(nn.Module):
    """A layer behind zeros, left, right, top, bottom, which may be uneven, and before an activation."""

    def __init__(self, layer: nn.Module, zeros: list[int], activation: int) -> None:
        super().__init__()
        self.layer, self._zeros, self._activation = layer, zeros, _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self._activation(self.layer(functional.pad(x, self._zeros) if any(self._zeros) else x))


class _Add(nn.Module):
    def __init__(self, activation: int) -> None:
        super().__init__()
        self._activation = _ACTIVATIONS[activation]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self._activation(a + b)


def _convolution(net: TfliteNet, operator: Any, depthwise: bool = False) -> nn.Module:
    source, weights, bias = (int(i) for i in operator.inputs)
    weight = net.stored(weights).permute(3, 0, 1, 2) if depthwise else net.stored(weights).permute(0, 3, 1, 2)
    options, channels = operator.builtinOptions, net.shape(source)[3]
    kernel, stride = list(weight.shape[2:]), (options.strideH, options.strideW)
    zeros = _zeros(net.shape(source)[1:3], kernel, stride, options.padding)
    even = zeros[0] == zeros[1] and zeros[2] == zeros[3]
    layer = nn.Conv2d(
        channels,
        len(weight),
        tuple(kernel),
        stride,
        (zeros[2], zeros[0]) if even else 0,
        groups=channels if depthwise else 1,
    )
    layer.weight, layer.bias = nn.Parameter(weight.contiguous()), nn.Parameter(net.stored(bias))
    return _Padded(layer, [0] * 4 if even else zeros, options.fusedActivationFunction)


def _zeros(sizes: list[int], kernel: list[int], stride: tuple[int, int], padding: int) -> list[int]:
    """TensorFlow's zeros for an image, the odd one behind: left, right, top, bottom."""
    if padding != SAME:
        return [0] * 4
    zeros: list[int] = []
    for size, width, step in reversed(list(zip(sizes, kernel, stride, strict=True))):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        zeros += [total // 2, total - total // 2]
    return zeros


def _linear(net: TfliteNet, operator: Any) -> nn.Module:
    weight = net.stored(int(operator.inputs[1]))
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(net.stored(int(operator.inputs[2])))
    return _Padded(layer, [0] * 4, operator.builtinOptions.fusedActivationFunction)


def _pool(_: TfliteNet, operator: Any) -> nn.Module:
    options = operator.builtinOptions
    return nn.AvgPool2d((options.filterHeight, options.filterWidth), (options.strideH, options.strideW))


_BUILD: dict[str, Callable[[TfliteNet, Any], nn.Module]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": lambda net, operator: _convolution(net, operator, depthwise=True),
    "FULLY_CONNECTED": _linear,
    "ADD": lambda _, operator: _Add(operator.builtinOptions.fusedActivationFunction),
    "AVERAGE_POOL_2D": _pool,
    "RESHAPE": lambda _, __: nn.Flatten(),  # of one pixel, so that the order of axes does not matter
}


class LiteRT:
    """A file in LiteRT's reference kernels, item by item; float in, logits out, whatever is in between."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._runner = Interpreter(
            str(path),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._runner.allocate_tensors()
        last = self._runner._get_ops_details()[-1]
        logits = last["inputs"][0] if last["op_name"] == "SOFTMAX" else last["outputs"][0]
        self._input = self._runner.get_input_details()[0]
        self._logits = next(one for one in self._runner.get_tensor_details() if one["index"] == logits)

    def __call__(self, items: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of items [N, C, H, W] or [N, features]."""
        return np.concatenate([self._one(item[None]) for item in items])

    def _one(self, item: NDArray[np.float32]) -> NDArray[np.float32]:
        values = item.transpose(0, 2, 3, 1) if item.ndim == 4 else item
        scale, zero = self._input["quantization"]
        if scale:
            values = np.clip(np.rint(values / scale) + zero, -128, 127)
        self._runner.set_tensor(self._input["index"], values.astype(self._input["dtype"]))
        self._runner.invoke()
        found = self._runner.get_tensor(self._logits["index"])
        scale, zero = self._logits["quantization"]
        real = (found.astype(np.float32) - zero) * np.float32(scale) if scale else found
        return np.asarray(real, np.float32)
