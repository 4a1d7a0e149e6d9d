"""Every case of every operator with a Triton kernel, on the GPU, against the reference; for where pytest is not.

    python benchmarks/gpu_tests.py [--small] [--only linear_s8] [--seconds 200]

With ``--small`` the first few small cases of each: what a memory checker gets through.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.bench.kernels.subject import differs, poisoned_memory
from edgekit.ops import OPS, Case, OpSpec, dispatch
from edgekit.ops.spec import results

FEW, SMALL = 4, 4096  # cases, and values of the tensors of one


def chosen(spec: OpSpec, small: bool) -> Iterator[Case]:
    """All cases, or the first few that are small and not empty."""
    if not small:
        yield from spec.cases()
        return
    sizes = ((case, [arg.numel() for arg in case.args if isinstance(arg, Tensor)]) for case in spec.cases())
    fitting = (case for case, counts in sizes if min(counts) and sum(counts) <= SMALL)
    yield from (case for case, _ in zip(fitting, range(FEW), strict=False))


def wrong(spec: OpSpec, case: Case, device: str = "cuda") -> str:
    """How the Triton kernel differs from the reference; empty where it does not."""
    args = tuple(arg.to(device) if isinstance(arg, Tensor) else arg for arg in case.args)
    with poisoned_memory():
        got = dispatch.run(spec, dispatch.TRITON, args)
    return differs(got, results(spec.reference(*case.args)), tolerance=(0.0, 0.0))


def main() -> int:
    """Print a line for each operator; 1 where a case differs or fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="a few small cases of each operator")
    parser.add_argument("--only", help="one operator")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no further case is begun")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not run on a GPU: there is no CUDA device")
        return 0
    ends, failures = time.monotonic() + options.seconds, 0
    for spec in OPS:
        if dispatch.TRITON not in spec.tiers or options.only not in (None, spec.name):
            continue
        done, found = 0, []
        for case in chosen(spec, options.small):
            if time.monotonic() > ends:
                found.append("out of time")
                break
            try:
                reason = wrong(spec, case)
            except Exception as error:  # the other cases go on
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
            done += 1
            found += [f"{case.name}: {reason}"] if reason else []
        failures += len(found)
        print(f"{spec.name:24} {done:4} cases  {'; '.join(found) or 'ok'}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
