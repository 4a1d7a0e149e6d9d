"""What every test starts from: fixed seeds, Triton's interpreter where there is no GPU, and unkind memory."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import translations  # noqa: F401  makes exports to ONNX faster

torch.set_num_threads(1)  # two test processes with two threads each wait for each other most of the time
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the processes that tests start
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton


# Files whose tests share something that takes long to make: each goes to one process.
TOGETHER = {
    "test_cli", "test_cmake", "test_coverage", "test_distributed", "test_pipeline", "test_report", "test_runtime",
    "test_tasks", "test_triton_aot", "test_triton_aot_launcher", "test_triton_aot_plugins", "test_wheel",
}  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `-n 2`: hand out the tests of these files at once, those of all others one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class FilesTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0]).stem
            return file.replace("_launcher", "").replace("_plugins", "") if file in TOGETHER else nodeid

    return FilesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The same random numbers for each test, whichever run before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def poisoned_empty() -> Iterator[None]:
    """Fill what torch leaves uninitialised with NaN or the largest integer, so that an element nobody wrote shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
