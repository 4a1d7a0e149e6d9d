"""Small, safe edits of an ``fx.GraphModule``: named arguments, tensors by path, calls at a place, source lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, fx, nn

SOURCE = ("stack_trace", "nn_module_stack")  # where in the user's code a node comes from
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)\n\s*(?P<text>[^\n]*)')


def overload(node: fx.Node) -> torch._ops.OpOverload:
    """The operator that a call calls."""
    assert isinstance(node.target, torch._ops.OpOverload), f"{node.format_node()} calls no operator"
    return node.target


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a call by their name in the operator's schema, defaults filled in."""
    bound: dict[str, Any] = {}
    for index, argument in enumerate(overload(node)._schema.arguments):
        if index < len(node.args):
            bound[argument.name] = node.args[index]
        else:
            bound[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return bound


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Set one argument by its schema name, filling defaults before it where they were left out."""
    schema = overload(node)._schema.arguments
    names = [argument.name for argument in schema]
    index, bound = names.index(name), arguments(node)
    if schema[index].kwarg_only:
        node.kwargs = {**node.kwargs, name: value}
        return
    bound[name] = value
    positional = max(index + 1, len(node.args))
    node.args = tuple(bound[n] for n in names[:positional])
    node.kwargs = {key: bound[key] for key in node.kwargs if key not in names[:positional]}


def operand(node: fx.Node, index: int) -> fx.Node:
    """The positional argument of a call that is a tensor."""
    value = node.args[index]
    assert isinstance(value, fx.Node), f"argument {index} of {node.format_node()} is no tensor"
    return value


def input_node(node: fx.Node) -> fx.Node:
    """The first argument of a call: the tensor it works on."""
    return operand(node, 0)


def calls(module: fx.GraphModule) -> Iterator[fx.Node]:
    """Every operator call, in order; the list is taken first, so that the graph may be edited meanwhile."""
    yield from [node for node in module.graph.nodes if node.op == "call_function"]


def is_call(node: object, *targets: object) -> bool:
    """Whether ``node`` is a call of one of ``targets``."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def owner(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The submodule that holds ``path`` and the last part of its name; missing parents are made."""
    *parents, last = path.split(".")
    for name in parents:
        if not hasattr(module, name):
            module.add_module(name, nn.Module())
        module = getattr(module, name)
    return module, last


def get_attribute(module: nn.Module, path: str) -> Any:
    """Whatever a ``get_attr`` node of that path reads: a tensor, or a part of the graph with code of its own."""
    parent, last = owner(module, path)
    return getattr(parent, last)


def get_by_path(module: nn.Module, path: str) -> Tensor:
    """The parameter, buffer or constant at ``path``."""
    value = get_attribute(module, path)
    assert isinstance(value, Tensor), f"{path} is no tensor"
    return value


def get_tensor(module: nn.Module, node: fx.Node) -> Tensor:
    """The parameter, buffer or constant that a ``get_attr`` node reads."""
    return get_by_path(module, str(node.target))


def set_tensor(module: nn.Module, path: str, value: Tensor) -> None:
    """Put ``value`` at ``path``: a Parameter as parameter, else a buffer; it takes the place of what stood there."""
    parent, last = owner(module, path)
    parameter = isinstance(value, nn.Parameter)
    if last in (parent._parameters if parameter else parent._buffers):
        setattr(parent, last, value)  # the order of the parameters stays
        return
    if hasattr(parent, last):
        delattr(parent, last)
    if isinstance(value, nn.Parameter):
        parent.register_parameter(last, value)
    else:
        parent.register_buffer(last, value)


def free_path(module: nn.Module, wanted: str) -> str:
    """``wanted``, with a number behind it where that path is taken already."""
    path, count = wanted, 0
    while True:
        parent, last = owner(module, path)
        if not hasattr(parent, last):
            return path
        count += 1
        path = f"{wanted}_{count}"


def add_tensor(module: fx.GraphModule, wanted: str, value: Tensor, before: fx.Node) -> fx.Node:
    """Store ``value`` under a free path like ``wanted``, read by a new ``get_attr`` node in front of ``before``."""
    path = free_path(module, wanted)
    set_tensor(module, path, value)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(path)
    node.meta["val"] = value.detach()
    return node


def call_after(node: fx.Node, target: Callable[..., Any], args: tuple[Any, ...], name: str | None = None) -> fx.Node:
    """A new call right behind ``node``, with its source line."""
    with node.graph.inserting_after(node):
        new = node.graph.create_node("call_function", target, args, name=name)
    copy_source(node, new)
    return new


def call_before(node: fx.Node, target: Callable[..., Any], args: tuple[Any, ...], name: str | None = None) -> fx.Node:
    """A new call right in front of ``node``, with its source line."""
    with node.graph.inserting_before(node):
        new = node.graph.create_node("call_function", target, args, name=name)
    copy_source(node, new)
    return new


def copy_source(source: fx.Node, to: fx.Node) -> None:
    """Let ``to`` point at the same line of the user's code and the same submodule as ``source``."""
    for key in SOURCE:
        if key in source.meta:
            to.meta[key] = source.meta[key]


def replace_uses(old: fx.Node, new: fx.Node, keep: Callable[[fx.Node], bool] = lambda _: False) -> None:
    """Let every user of ``old`` read ``new``, but those for which ``keep`` is true and ``new`` itself."""
    for user in list(old.users):
        if user is not new and not keep(user):
            user.replace_input_with(old, new)


def source_line(node: fx.Node) -> str:
    """``file:line`` and the text of the user's line that made this node; empty where it is not known."""
    frames = list(_FRAME.finditer(node.meta.get("stack_trace") or ""))
    own = [frame for frame in frames if "/torch/nn/" not in frame["file"]] or frames
    if not own:
        return ""
    return f"{own[-1]['file']}:{own[-1]['line']}: {own[-1]['text']}"


def short_source(node: fx.Node) -> str:
    """``file.py:line`` of the user's line, without its folder; empty where it is not known."""
    file, _, rest = source_line(node).partition(":")
    return f"{PurePath(file).name}:{rest.partition(':')[0]}" if file else ""


def describe(node: fx.Node) -> str:
    """A node for error messages and reports: name, operator and source line."""
    where = source_line(node)
    return f"{node.name} ({operator_name(node)})" + (f" at {where}" if where else "")


def operator_name(node: fx.Node) -> str:
    """``aten.conv2d`` for a call, else the kind of node."""
    if node.op != "call_function":
        return node.op
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet) if packet is not None else getattr(node.target, "__name__", str(node.target))


def drop_dead(module: fx.GraphModule) -> None:
    """Drop calls whose result nobody reads, unread dropout among them; the module's code stays as it was."""
    module.graph.eliminate_dead_code(lambda node: node.is_impure(impure_random=False))


def clean(module: fx.GraphModule) -> None:
    """Drop dead calls and tensors nobody reads, check the graph, and compile its code again."""
    drop_dead(module)
    for node in list(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for path in [name for name, _ in _tensors(module) if name not in used]:
        parent, last = owner(module, path)
        delattr(parent, last)
    module.graph.lint()
    module.recompile()


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]


def module_paths(node: fx.Node) -> list[str]:
    """The submodules of the user's model that a node comes from, the innermost last."""
    return [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]


def with_sources(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Nodes and all calls that they compute tensors from."""
    found, waiting = set[fx.Node](), list(nodes)
    while waiting:
        here = waiting.pop()
        if here.op == "call_function" and here not in found and isinstance(here.meta.get("val"), Tensor):
            found.add(here)
            waiting += here.all_input_nodes
    return found
