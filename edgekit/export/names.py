"""Values of a file under the names that they have in the graph, so that the two can be compared layer by layer.

torch's exporter traces the graph anew and numbers what it meets. It carries one text of each call along, the trace of
the user's source: on the copy that is exported this text is the value's name, and :func:`restore` reads it back. The
text goes before the file is written.
"""

from __future__ import annotations

import onnx

from edgekit.graph import Graph, edit, notes
from edgekit.runtime import nodes

_CARRIED, _READ = "stack_trace", "pkg.torch.onnx.stack_trace"


def carry(graph: Graph) -> None:
    """Write the name of each call's value where the exporter passes it on; the graph is a copy made for export."""
    for node in edit.calls(graph.module):
        node.meta[_CARRIED] = notes.value_name(node)


def restore(model: onnx.ModelProto) -> None:
    """Name the last value that was made of each call after it; inputs, outputs and stored tensors keep their names."""
    fixed = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
    wanted: dict[str, str] = {}
    for node in model.graph.node:
        name = next((entry.value for entry in node.metadata_props if entry.key == _READ), "")
        if name.isidentifier() and len(node.output) == 1:
            wanted[name] = node.output[0]
    new = {old: name for name, old in wanted.items() if old not in fixed and name not in fixed}
    taken = fixed | set(new.values())
    for node in nodes(model.graph):
        for name in node.output:
            if name in taken and name not in new and name not in fixed:  # the exporter's name for another value
                new[name] = _free(name, taken)
    for node in nodes(model.graph):
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]


def _free(name: str, taken: set[str]) -> str:
    count = 1
    while f"{name}__{count}" in taken:
        count += 1
    taken.add(f"{name}__{count}")
    return f"{name}__{count}"
