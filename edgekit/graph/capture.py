"""From ``nn.Module`` to :class:`Graph`, by ``torch.export`` in inference mode with a dynamic batch."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from edgekit.errors import CaptureError, InputError, ModelError
from edgekit.graph import canonical, edit, modes
from edgekit.graph.graph import Graph, TensorInfo
from edgekit.graph.quiet import quiet

_KEPT = ("val", *edit.SOURCE)  # the exporter's other notes on a node are its own affair
Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def capture(model: nn.Module, example_inputs: Inputs, submodule: str | None = None) -> Graph:
    """Capture a model as a canonical :class:`Graph` that holds its own copy of the weights.

    Args:
        model: any module that ``torch.export`` can trace; it is left as it was.
        example_inputs: a tensor, a tuple, or a dict of keyword arguments; the first dimension of each tensor is the batch.
        submodule: capture only this submodule, on the inputs it gets when ``model`` runs on ``example_inputs``.

    Raises:
        ModelError: where the model itself fails on the example inputs.
        CaptureError: where it cannot be traced; names the source line and the largest submodules that can be.
    """
    args, kwargs = _normalise(example_inputs)
    with _inference(model):
        _run(model, args, kwargs)
        if submodule is not None:
            target = _submodule(model, submodule)
            args, kwargs = _recorded(model, args, kwargs, [submodule])[submodule]
            model = target
        try:
            with quiet():
                module, inputs = _export(model, args, kwargs)
        except Exception as error:  # torch.export documents no closed set of exceptions
            raise _refusal(model, args, kwargs, error) from error
        graph = Graph(module, inputs, _output_names(model, args, kwargs), _attention_dropout(model, module))
    graph.notes = _fixed_batches(inputs) + _frozen_branches(model)
    return canonical.canonicalise(graph)


def _normalise(example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs, a batch of 1 repeated to 2: torch would keep 1 as a constant."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example, Mapping):
        kwargs = dict(example)
    else:
        args = (example,) if isinstance(example, Tensor) else tuple(example)
    leaves, spec = pytree.tree_flatten((args, kwargs))
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        raise InputError("example_inputs holds no tensor.", fix="Pass a tensor, a tuple of tensors or a dict of them.")
    widened = [_widen(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    args, kwargs = pytree.tree_unflatten(widened, spec)
    return args, kwargs


def _widen(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return torch.cat([tensor, tensor]) if tensor.dim() and tensor.shape[0] == 1 else tensor


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in inference mode and every submodule back in its own mode afterwards."""
    before = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in before.items():
            module.training = training


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return model(*args, **kwargs)
    except Exception as error:
        raise ModelError(
            f"the model fails on the example inputs: {error}",
            fix="Check their number, shapes and types; the first dimension is the batch.",
        ) from error


def _export(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[fx.GraphModule, tuple[TensorInfo, ...]]:
    shapes = pytree.tree_map(lambda leaf: {0: torch.export.Dim.AUTO} if _has_batch(leaf) else None, (args, kwargs))
    order = list(inspect.signature(model.forward).parameters)
    dynamic = {**dict(zip(order, shapes[0], strict=False)), **shapes[1]} if kwargs else shapes[0]
    program = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic)
    exported = program.module(check_guards=False)
    exported.graph.set_codegen(CodeGen())
    # A new GraphModule drops the guarding hooks; the copy shares no weight with the user's model.
    module = copy.deepcopy(fx.GraphModule(exported, exported.graph))
    for node in module.graph.nodes:
        node.meta = {key: node.meta[key] for key in _KEPT if key in node.meta}
    result = module.graph.output_node()
    leaves = [leaf for leaf in pytree.tree_leaves(result.args[0]) if isinstance(leaf, fx.Node)]
    result.args = (leaves[0] if len(leaves) == 1 else tuple(leaves),)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in placeholders:
        if not isinstance(node.meta.get("val"), Tensor):
            _drop_constant_input(module, node)
    return module, tuple(_info(node) for node in module.graph.nodes if node.op == "placeholder")


def _has_batch(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0


def _drop_constant_input(module: fx.GraphModule, node: fx.Node) -> None:
    """A number, None or bool among the inputs is frozen at its example value."""
    node.replace_all_uses_with(node.meta.get("val"))  # type: ignore[arg-type]
    module.graph.erase_node(node)


def _info(node: fx.Node) -> TensorInfo:
    value = node.meta["val"]
    return TensorInfo(node.name, tuple(d if isinstance(d, int) else None for d in value.shape), value.dtype)


def _fixed_batches(inputs: tuple[TensorInfo, ...]) -> tuple[str, ...]:
    fixed = [info for info in inputs if info.shape and info.shape[0] is not None]
    notes = tuple(
        f"input {i.name} is captured with a fixed batch of {i.shape[0]}: the model computes with that size"
        for i in fixed
    )
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return notes


def _output_names(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """``output`` for one tensor, keys of a dict (Hugging Face outputs too), else ``output_0``, ``output_1``, ..."""
    paths = pytree.tree_flatten_with_path(model(*args, **kwargs))[0]
    tensors = [path for path, leaf in paths if isinstance(leaf, Tensor)]
    if len(tensors) == 1 and not tensors[0]:
        return ("output",)
    names = ["_".join(re.findall(r"\w+", pytree.keystr(path))) for path in tensors]
    return tuple(f"output_{name}" if name.isdigit() else name for name in names)


def _attention_dropout(model: nn.Module, module: fx.GraphModule) -> dict[str, float]:
    """Dropout of ``nn.MultiheadAttention``, which capture in inference mode writes as 0."""
    found = {}
    for node in edit.calls(module):
        if node.target is modes.ATTENTION and node.meta.get("nn_module_stack"):
            path = list(node.meta["nn_module_stack"].values())[-1][0]
            layer = dict(model.named_modules()).get(path)
            if isinstance(layer, nn.MultiheadAttention) and layer.dropout:
                found[node.name] = float(layer.dropout)
    return found


def _frozen_branches(model: nn.Module) -> tuple[str, ...]:
    """Sentences on code of the user's that asks ``self.training``: capture keeps its inference branch for good."""
    notes = {}
    for name, layer in model.named_modules():
        if not type(layer).__module__.startswith("torch."):
            try:
                source = inspect.getsource(type(layer).forward)
            except (OSError, TypeError):  # no source file: a class made in a shell or in C
                continue
            if "self.training" in source:
                notes[type(layer)] = (
                    f"{name or 'the model'} ({type(layer).__name__}) asks self.training: frozen to inference"
                )
    return tuple(notes.values())


def _submodule(model: nn.Module, path: str) -> nn.Module:
    known = dict(model.named_modules())
    if path not in known:
        raise InputError(
            f"the model has no submodule {path!r}.", fix=f"It has: {', '.join(n for n in known if n)[:500]}."
        )
    return known[path]


def _recorded(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], paths: list[str]
) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Inputs that each submodule of ``paths`` gets when the model runs."""
    seen: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    handles = []
    for path in paths:

        def hook(_: nn.Module, a: tuple[Any, ...], k: dict[str, Any], path: str = path) -> None:
            seen.setdefault(path, (a, k))

        handles.append(_submodule(model, path).register_forward_pre_hook(hook, with_kwargs=True))
    try:
        model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _refusal(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> CaptureError:
    parts = _capturable(model, args, kwargs)
    ways = [f'submodule="{path}"' for path in parts[:3]]
    return CaptureError(
        f"{type(model).__name__} cannot be captured as one graph{_user_line(error)}.",
        why=_first_sentence(error),
        fix=f"These parts can be captured: ek.capture(model, inputs, {' or '.join(ways)})."
        if ways
        else "Rewrite the line without branches on tensor values, .item() or numpy.",
    )


def _user_line(error: BaseException) -> str:
    """The deepest line of the traceback, or of the text torch wrote, that is not torch's own."""
    lines = [
        f"{f.filename}:{f.lineno}: {' '.join(f.code_context or []).strip()}"
        for f in inspect.getinnerframes(error.__traceback__)
    ]  # type: ignore[arg-type]
    lines += [
        f"{file}:{line}: {text.strip()}"
        for file, line, text in re.findall(r'File "([^"]+)", line (\d+)[^\n]*\n([^\n]*)', str(error))
    ]
    own = [line for line in lines if "/torch/" not in line and "/edgekit/graph/" not in line]
    return f" (at {own[-1]})" if own else ""


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{text[0].rstrip('.')}." if text else f"{type(error).__name__}."


def _capturable(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """Paths of the largest submodules that can be captured, most parameters first."""
    paths = [name for name, child in model.named_modules() if name and any(True for _ in child.parameters())]
    inputs = _recorded(model, args, kwargs, paths)
    found: list[str] = []
    for path in sorted(inputs, key=lambda p: p.count(".")):
        if not any(path.startswith(f"{done}.") for done in found) and _exports(_submodule(model, path), *inputs[path]):
            found.append(path)
    return sorted(found, key=lambda p: -sum(t.numel() for t in _submodule(model, p).parameters()))


def _exports(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        with quiet():
            torch.export.export(model, args, kwargs)
    except Exception:  # whatever stops torch.export, this part cannot be captured
        return False
    return True
