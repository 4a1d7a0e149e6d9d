"""Single kernels: how fast they are and how near to what the machine can do, checked first, with a verdict.

``run.bench``, ``peak.measure``, ``asm.native`` and ``tune.tune`` are what the verbs of ``edgekit kernels`` call, and
``with tuned.tuned("tuned.json"):`` uses what was tuned. Importing this package loads neither torch nor triton, and
nothing in it needs the packages of the command line: it works where only numpy, torch and triton are installed.
"""
