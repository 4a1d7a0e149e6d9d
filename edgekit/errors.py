"""Every error that edgekit raises on purpose: a stable code, an exit code, and a sentence that says what to do.

An error has three parts: what happened, why, and how to mend it. ``str(error)`` prints them with the code in front;
the command line prints the same text and ends with ``exit_code``. Anything that is not an :class:`EdgekitError` is a
bug.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_OK = 0
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'ratio'?`` (with the leading space) for the known word closest to ``word``, or nothing."""
    from difflib import get_close_matches  # used on the way out only

    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class EdgekitError(Exception):
    """Base of all typed errors.

    Args:
        what: what happened, naming the node, tensor, file or key it happened to.
        why: the cause, where it is not plain from ``what``.
        fix: what the user can do about it.
    """

    code = "EK9000"
    exit_code = EXIT_BUG

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what)

    def at(self, where: str) -> EdgekitError:
        """The same error with the place in front that the one who raised it did not know."""
        return type(self)(f"{where}: {self.what}", self.why, self.fix)

    def __str__(self) -> str:
        return f"[{self.code}] " + " ".join(part for part in (self.what, self.why, self.fix) if part)


class UsageError(EdgekitError):
    """The call itself is off: an option, a name or a path that cannot be used like this."""

    code, exit_code = "EK2000", 2


class OutputError(UsageError):
    """The place to write to cannot be used: it is a file, not ours, or in use by another process."""

    code = "EK2001"


class InputError(EdgekitError):
    """Something that was read is wrong: a model, data, a recipe, a file."""

    code, exit_code = "EK3000", 3


class RecipeError(InputError):
    """The recipe has an unknown key, a wrong type or a value out of range."""

    code = "EK3001"


class DataError(InputError):
    """The data has NaN or infinite values, a wrong shape, type or label."""

    code = "EK3002"


class CalibrationError(InputError):
    """The calibration set is too small, or an item cannot be used."""

    code = "EK3003"


class ModelError(InputError):
    """The model cannot be built, or does not accept the example inputs."""

    code = "EK3004"


class GraphFileError(InputError):
    """A file does not hold a model that edgekit can read."""

    code = "EK3005"


class UnsupportedError(EdgekitError):
    """An operator, device or version that edgekit does not support."""

    code, exit_code = "EK4000", 4


class CaptureError(UnsupportedError):
    """The model cannot be captured as one graph."""

    code = "EK4001"


class OperatorError(UnsupportedError):
    """An operator that this stage does not support; the message names it and the source line."""

    code = "EK4002"


class MissingDependency(UnsupportedError):
    """An optional package, compiler or device that this call needs is not there."""

    code = "EK4003"


class NumericsError(UnsupportedError):
    """A scale, ratio or reduction outside the range in which INT8 arithmetic is exact."""

    code = "EK4004"


class GateError(EdgekitError):
    """A result misses the bound that the recipe set for accuracy, latency or size."""

    code, exit_code = "EK5000", 5


class ExportMismatch(GateError):
    """An exported file does not compute what its graph computes."""

    code = "EK5001"


class KernelMismatch(GateError):
    """A kernel does not compute what its reference does."""

    code = "EK5002"


class IntegrityError(EdgekitError):
    """A file is not what its recorded hash says."""

    code, exit_code = "EK6000", 6


class ResourceError(EdgekitError):
    """Disk, memory or time ran out."""

    code, exit_code = "EK7000", 7


class DeviceError(EdgekitError):
    """A device or sensor was lost while it was in use."""

    code, exit_code = "EK8000", 8


class Interrupted(EdgekitError):
    """The user stopped the command; what was finished is kept."""

    code, exit_code = "EK1300", EXIT_INTERRUPTED
