"""What fusing the layers of inverted residual blocks over tiles of rows could save in the native engine.

    python benchmarks/row_tiles.py [--rounds 31] [--kib 256] [--json FILE]

A fused block computes a few rows of all its layers before the next rows, so that the widened tensors stay in the
second-level cache. Each block of MobileNetV2 at 224 x 224 runs here whole, and as a net of its own for an image of so
few rows that this holds anyway, one thread, in turns. The time of a row whole over that of a row in a tile is what
fusing gains with tiles of this size: a fused block makes the same calls, and moves the rows that two tiles share on top
of that. Blocks whose widened tensors fit as they are, and those that lose by it, are counted as 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ratios import Ratio, against_best
from torch import nn

import edgekit as ek
from edgekit import device, disk
from edgekit.models import create
from edgekit.runtime import Runner

SIDE = 224
CALLS = 5  # of a net in a round, the median of which is its time


@dataclass(frozen=True)
class Block:
    """An inverted residual block and the image that it sees."""

    name: str
    module: nn.Module
    channels: int
    widened: int
    rows: int
    columns: int
    stride: int

    @property
    def row_bytes(self) -> int:
        """Of both widened tensors, for a row of the input."""
        return self.widened * self.columns * (self.stride * self.stride + 1) // (self.stride * self.stride)


@dataclass(frozen=True)
class Row:
    """One block: ``gain`` is the time of a row in the whole image over that in a tile."""

    block: str
    rows: int
    tile: int
    whole_us: float
    gain: Ratio | None


def blocks() -> Iterator[Block]:
    """The seventeen of MobileNetV2, in order."""
    torch.manual_seed(0)
    body, rows = create("mobilenet_v2").eval().get_submodule("body"), SIDE // 2
    for index, module in enumerate(list(body.children())[:-1]):
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        depthwise = next(layer for layer in layers if layer.groups > 1)
        stride, channels = depthwise.stride[0], layers[0].in_channels
        yield Block(f"body.{index}", module, channels, depthwise.in_channels, rows, rows, stride)
        rows //= stride


def runner_of(block: Block, rows: int, folder: Path) -> tuple[Runner, Any]:
    """The block behind a 1x1 convolution, which leaves it an input in bytes, for an image of so many rows."""
    model = nn.Sequential(nn.Conv2d(block.channels, block.channels, 1), block.module).eval()
    x = torch.randn(1, block.channels, rows, block.columns, generator=torch.Generator().manual_seed(1))
    graph = ek.capture(model, torch.cat([x, x]))
    path = folder / f"{block.name}-{rows}.ekm"
    ek.export_native(ek.quantize(graph, [x, x], config=ek.QuantConfig(allow_few=True)).graph, path)
    return ek.load(path, threads=1), x.numpy()


def seconds(runner: Runner, x: Any) -> float:
    """Of the block, its margins included, without what stands in front of its first convolution."""
    profiles = [runner.profile(x) for _ in range(CALLS)]  # type: ignore[attr-defined]
    front = next(i for i, layer in enumerate(profiles[0]) if layer.macs) + 1
    return statistics.median(sum(layer.seconds for layer in one[front:]) for one in profiles)


def tile_rows(block: Block, most: int) -> int:
    """The largest equal part of the rows, in whole strides, of which the widened tensors fit."""
    parts = [n for n in range(block.stride, block.rows + 1, block.stride) if block.rows % n == 0]
    return max((n for n in parts if n * block.row_bytes <= most), default=parts[0])


def measured(most: int, rounds: int, folder: Path) -> Iterator[Row]:
    """One row for each block."""
    for block in blocks():
        tile = tile_rows(block, most)
        nets = [runner_of(block, rows, folder) for rows in dict.fromkeys((block.rows, tile))]
        times = [[seconds(*net) for net in nets] for _ in range(rounds + 1)][1:]  # the first is to warm up
        whole = [one[0] for one in times]
        gain = None
        if len(nets) == 2:
            gain = against_best([one[1] * block.rows / tile for one in times], {"whole": whole})
        yield Row(block.name, block.rows, tile, 1e6 * float(np.median(whole)), gain)


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--kib", type=int, default=256, help="of widened tensors that stay in the second-level cache")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, [options.core])
    print(f"{'block':8} {'rows':>5} {'tile':>5} {'whole us':>9} {'gain':>6}   95 % interval")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measured(options.kib << 10, options.rounds, Path(folder)):
            rows.append(row)
            said = f"{row.gain.ratio:6.3f}   {row.gain.low:.3f} to {row.gain.high:.3f}" if row.gain else f"{1:6}   fits"
            print(f"{row.block:8} {row.rows:5} {row.tile:5} {row.whole_us:9.1f} {said}", flush=True)
    total = sum(row.whole_us for row in rows)
    fused = sum(row.whole_us / max(row.gain.ratio if row.gain else 1, 1) for row in rows)
    print(f"all blocks: {total:.0f} us whole, {total / fused:.3f} times as fast in tiles")
    if options.json:
        found = {"benchmark": "row_tiles", "kib": options.kib, "device": device.describe(), "in_tiles": total / fused}
        disk.write_file(
            options.json, (json.dumps(found | {"rows": [asdict(r) for r in rows]}, indent=1) + "\n").encode()
        )


if __name__ == "__main__":
    main()
