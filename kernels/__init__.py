"""Triton kernels, one file per operator: formula, kernel, launch configuration, plan of launches, launcher.

The launcher has the name and arguments of the operator (``edgekit/ops/<name>.py`` is its meaning), and ``out`` to fill.
It trusts its arguments: ``torch.ops.edgekit.<name>`` is the checked way in. Importing this package does not import
triton.
"""
