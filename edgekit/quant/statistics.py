"""What calibration saw of a model, as a file: gathered where the data is, merged and quantised from elsewhere.

The file is JSON and holds no sample: of each observed tensor its extremes, a histogram of magnitudes and the largest
magnitude of each item. It names the model that it belongs to, by a hash of the graph, weights included, and of what is
observed in it; a file of another model, or one that contradicts itself, is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationError, model_validator
from torch import fx

from edgekit import disk
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, save
from edgekit.ops.observe import LEAST_EXPONENT
from edgekit.quant.record import BINS, Record
from edgekit.section import Count, NotNegative, Section

MAX_BYTES = 1 << 28
_GATHER = "Gather them again: `edgekit quantize GRAPH --data DATA --save-stats FILE`."
Bin = Annotated[int, Field(ge=0, lt=2**53)]


@dataclass(frozen=True)
class Statistics:
    """What was seen of one model.

    Attributes:
        model: :func:`fingerprint` of the graph and of what is observed in it.
        samples: how many were seen.
        records: of every observed tensor, by the name of the node that its scale is named after.
    """

    model: str
    samples: int
    records: Mapping[str, Record]

    def __add__(self, other: Statistics) -> Statistics:
        """What both saw, to the bit what one pass over the samples of this and then of ``other`` sees.

        Raises:
            CalibrationError: for statistics of two models.
        """
        records = other.of(self.model, self.records)
        together = {name: record + records[name] for name, record in self.records.items()}
        return Statistics(self.model, self.samples + other.samples, together)

    def of(self, model: str, names: Iterable[str]) -> Mapping[str, Record]:
        """The records, if they are of this model and these tensors.

        Raises:
            CalibrationError: if they are not.
        """
        if model != self.model or set(names) != set(self.records):
            raise CalibrationError(
                "the statistics were gathered on another model.",
                "Weights, and options that decide what is quantised, count too.",
                _GATHER,
            )
        return self.records


def fingerprint(graph: Graph, observed: Mapping[fx.Node, fx.Node]) -> str:
    """SHA-256 of a float graph with its weights, and of which node's values make up which scale."""
    names = {node.name: named.name for node, named in observed.items()}
    return hashlib.sha256(save.serialise(graph) + json.dumps(names).encode()).hexdigest()


def write(statistics: Statistics, path: Path) -> None:
    """Write a file, atomically; the same statistics give the same bytes.

    Raises:
        OutputError, ResourceError: as :func:`edgekit.disk.write_file`.
    """
    tensors = {name: _Tensor.of(record) for name, record in statistics.records.items()}
    file = _File(edgekit_statistics=1, model=statistics.model, samples=statistics.samples, tensors=tensors)
    disk.write_file(path, file.model_dump_json().encode() + b"\n")


def read(path: Path) -> Statistics:
    """Read a file.

    Raises:
        CalibrationError: for a file that cannot be read, is not of this version, or contradicts itself.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CalibrationError(f"{path} is over the {MAX_BYTES} bytes that statistics may take.", fix=_GATHER)
        file = _File.model_validate_json(content)
    except OSError as error:
        raise CalibrationError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the whole"
        raise CalibrationError(
            f"{path} does not hold calibration statistics.", f"{where}: {problem['msg']}.", _GATHER
        ) from error
    records = {name: tensor.record() for name, tensor in file.tensors.items()}
    return Statistics(file.model, file.samples, records)


def merged(parts: Iterable[Statistics]) -> Statistics:
    """All of them together, in this order; at least one.

    Raises:
        CalibrationError: for statistics of different models.
    """
    return reduce(Statistics.__add__, parts)


class _Tensor(Section):
    least: float
    most: float
    exponent: Annotated[int, Field(ge=LEAST_EXPONENT, le=128)]
    histogram: Annotated[tuple[Bin, ...], Field(min_length=BINS, max_length=BINS, strict=False)]
    peaks: Annotated[tuple[NotNegative, ...], Field(strict=False)]

    @classmethod
    def of(cls, record: Record) -> _Tensor:
        counts, peaks = tuple(record.histogram.tolist()), tuple(record.peaks)
        return cls(least=record.least, most=record.most, exponent=record.exponent, histogram=counts, peaks=peaks)

    def record(self) -> Record:
        counts = torch.tensor(self.histogram, dtype=torch.int64)
        return Record(self.least, self.most, list(self.peaks), self.exponent, counts)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> _Tensor:
        largest = max(abs(self.least), abs(self.most))
        exponent = max(math.frexp(largest)[1], LEAST_EXPONENT) if largest > 0 else LEAST_EXPONENT
        last = int(math.ldexp(largest, -exponent) * BINS) if largest > 0 else 0
        used = [index for index, count in enumerate(self.histogram) if count]
        seen = bool(self.peaks)
        if self.least > self.most or self.exponent != exponent or largest != max(self.peaks, default=0.0):
            raise ValueError("its extremes, range and peaks contradict each other")
        if bool(used) != seen or (seen and used[-1] != last):
            raise ValueError("its histogram and its extremes contradict each other")
        return self


class _File(Section):
    edgekit_statistics: Literal[1]
    model: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    samples: Count
    tensors: Annotated[dict[str, _Tensor], Field(min_length=1)]
