"""Presets: which of equalisation, smoothing, bias correction and observer a net gets, chosen by its family.

All families were measured with ``benchmarks/accuracy.py`` but recurrent ones, whose row is an argument. With one scale
for each output channel of a weight, equalised weights gain little, and what is left to even out are activations. That
is what smoothing does, so ``balanced`` takes it for convolutions, too. Equalisation stays for those who have no data to
trust, and is asked for by name. No row cuts off a share of the values: in transformers a percentile lost 1 to 12 dB, on
inputs a little noisier than those of calibration as on the same kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor, fx

from edgekit.graph import Graph, edit, front
from edgekit.options import QuantConfig
from edgekit.quant import channels, correct, equalize, smooth
from edgekit.quant.channels import Channels
from edgekit.quant.correct import Correction
from edgekit.quant.items import Item
from edgekit.quant.seams import Decision

Family = Literal["transformer", "recurrent", "convolutional", "dense"]
_ATTENTION = {"scaled_dot_product_attention", "masked_softmax", "scaled_matmul"}
_RECURRENT = {"gru", "lstm", "rnn_tanh", "rnn_relu"}
_CONVOLUTIONS = {"conv1d", "conv2d"}


@dataclass(frozen=True)
class Choice:
    """The stages of one net, and why these."""

    family: Family
    equalize: bool = False
    smooth: bool = False
    bias_correction: bool = False
    observer: Literal["", "minmax", "percentile"] = ""
    why: str = "the plain preset"

    @property
    def any(self) -> bool:
        """Whether anything was chosen beside the plain way."""
        return self != Choice(self.family, why=self.why)

    @property
    def needs_peaks(self) -> bool:
        """Whether calibration data is run once more, before ranges are watched."""
        return self.equalize or self.smooth

    def to_json(self) -> dict[str, Any]:
        """The choice as plain JSON values."""
        return asdict(self)


BALANCED: dict[Family, Choice] = {
    "convolutional": Choice(
        "convolutional", smooth=True, bias_correction=True, why="ranges of channels spread, above all behind depthwise"
    ),
    "transformer": Choice(
        "transformer", smooth=True, why="single channels are outliers; cutting off single values cost up to 12 dB"
    ),
    "recurrent": Choice("recurrent", bias_correction=True, why="tanh bounds the state: there is no spread to even out"),
    "dense": Choice("dense", bias_correction=True, why="standardised features have little spread to even out"),
}


@dataclass(frozen=True)
class Balance:
    """What the stages did."""

    choice: Choice
    rescaled: tuple[Decision, ...] = ()
    corrected: tuple[Correction, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The stages and their decisions as plain JSON values."""
        return {
            "choice": self.choice.to_json(),
            "rescaled": [decision.to_json() for decision in self.rescaled],
            "corrected": [correction.to_json() for correction in self.corrected],
        }


def family(graph: Graph) -> Family:
    """What kind of net this is, by the operators in it; those of its preprocessing stay in float and do not count."""
    before = front.front(graph)
    calls = [(edit.operator_name(n).rpartition(".")[2], n) for n in edit.calls(graph.module) if n not in before]
    names = {name for name, _ in calls}
    if names & _ATTENTION or any(name == "softmax" and _is_read(node) for name, node in calls):
        return "transformer"
    return "recurrent" if names & _RECURRENT else "convolutional" if names & _CONVOLUTIONS else "dense"


def _is_read(node: fx.Node) -> bool:
    return any(user.op == "call_function" for user in node.users)


def choose(graph: Graph, config: QuantConfig) -> Choice:
    """The stages for a net: the preset's for its family, but where the configuration says yes or no itself."""
    kind = family(graph)
    preset = BALANCED[kind] if config.preset == "balanced" else Choice(kind)
    asked = {name: getattr(config, name) for name in ("equalize", "smooth", "bias_correction")}
    said = {name: value for name, value in asked.items() if value is not None}
    return Choice(**{**asdict(preset), **said})


def configured(config: QuantConfig, choice: Choice) -> QuantConfig:
    """The configuration with the observer of the choice, unless it names one itself."""
    if not choice.observer or "observer" in config.model_fields_set:
        return config
    return config.model_copy(update={"observer": choice.observer})


def rescale(
    graph: Graph, choice: Choice, calibration: Iterable[Item], alpha: float
) -> tuple[Graph, tuple[Decision, ...]]:
    """A copy, equalised and smoothed as chosen, and what became of every layer. Each runs the items once."""
    decisions: tuple[Decision, ...] = ()
    if choice.equalize:
        graph, decisions = equalize.equalize(graph, _peaks(graph, calibration))
    if choice.smooth:
        graph, smoothed = smooth.smooth(graph, _peaks(graph, calibration), alpha)
        decisions += smoothed
    return graph, decisions


def _peaks(graph: Graph, calibration: Iterable[Item]) -> dict[str, Tensor]:
    seen = channels.collect(graph, smooth.stations(graph), calibration)
    return {node.name: one.peak for node, one in seen.items()}


def watchers(graph: Graph, choice: Choice) -> dict[fx.Node, Channels]:
    """What has to be seen of channels beside ranges, in the same pass, so that biases can be corrected."""
    return {node: Channels(axis) for node, axis in correct.stations(graph).items()} if choice.bias_correction else {}


def correct_biases(graph: Graph, choice: Choice, means: Mapping[str, Tensor]) -> tuple[Graph, tuple[Correction, ...]]:
    """Correct the biases of a quantised graph, if chosen; ``means`` are those of :func:`correct.means`."""
    return correct.correct(graph, means) if choice.bias_correction else (graph, ())
