"""What a run does, in full: the recipe, its defaults and its limits.

A recipe is YAML. Every key is known, typed and bounded here; an unknown one is refused with the line it stands on.
``dump(load(x))`` is the same recipe with every default written out: the ``recipe.lock.yaml`` of a run directory.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from edgekit import strictyaml, targets
from edgekit.errors import RecipeError, UsageError, did_you_mean

SHIPPED = Path(__file__).with_name("recipes")


def _known_target(name: str) -> str:
    if name not in targets.names():
        raise ValueError(f"choose one of: {', '.join(targets.names())}")
    return name


Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Target = Annotated[
    str,
    AfterValidator(_known_target),
    Field(json_schema_extra={"enum": list(targets.names())}),
]


class _Config(BaseModel):
    # Strict: `epochs: true` is not 1 and `seed: "7"` is not 7. Lists become tuples so that a recipe stays what it was.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class VariedConfig(_Config):
    """A second held-out set: the test items again, shifted and with noise. Images only.

    Attributes:
        items: how many.
        shift: largest shift in pixels along each axis, either way.
        noise: standard deviation of Gaussian noise, in units of one level.
        levels: grey levels; one level is 1 / levels of the range [0, 1].
    """

    items: Count = 5400
    shift: Annotated[int, Field(ge=0, le=64)] = 1
    noise: NotNegative = 1.0
    levels: Count = 16


class DataConfig(_Config):
    """Where the data comes from.

    Attributes:
        source: ``digits`` (scikit-learn's bundled handwriting), or an ``.npz`` file with ``x`` and ``y``; a relative
            path starts at the recipe file.
        test_fraction: share of the items held out for the test.
        varied: a second held-out set, or none.
    """

    source: Annotated[str, Field(min_length=1)]
    test_fraction: Fraction = 0.3
    varied: VariedConfig | None = None


class ModelConfig(_Config):
    """The model: one that ships (``name``), or the user's own (``file`` and ``object``), called with ``args``."""

    name: str | None = None
    file: str | None = None
    object: str | None = None
    args: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _exactly_one(self) -> ModelConfig:
        if (self.name is None) == (self.file is None) or (self.file is None) != (self.object is None):
            raise ValueError("give either `name`, or `file` together with `object`")
        return self


class TrainConfig(_Config):
    """A training or fine-tuning run; ``schedule`` and ``augment`` (shift and noise, for images) act on every batch."""

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Positive
    batch_size: Count = 64
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    augment: bool = False


class PruneConfig(_Config):
    """Structured pruning.

    Attributes:
        ratio: share of channels to remove.
        importance: score of a channel; ``taylor`` needs data.
        scope: ``local`` removes the ratio from every layer, ``global`` the least important of the whole net.
        round_to: channel counts stay multiples of this.
        exclude: names of nodes that keep their channels; ``*`` and ``?`` match.
        recover: the fine-tuning that follows.
    """

    ratio: Fraction
    importance: Literal["l1", "l2", "taylor"] = "l2"
    scope: Literal["local", "global"] = "local"
    round_to: Count = 1
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = ()
    recover: TrainConfig | None = None


class QuantConfig(_Config):
    """INT8 after training.

    Attributes:
        observer: how an activation's range is taken from the calibration data.
        percentile: of the magnitudes, for ``observer: percentile``.
        per_channel: one weight scale per output channel, or one per tensor.
        calibration_samples: how many training items calibrate.
        allow_few: go on with fewer than 32 of them.
    """

    observer: Literal["minmax", "percentile"] = "minmax"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    per_channel: bool = True
    calibration_samples: Count = 256
    allow_few: bool = False


class ExportConfig(_Config):
    """The files to write, and the largest difference at which a float file still counts as equal to its graph."""

    targets: Annotated[tuple[Target, ...], Field(strict=False, min_length=1)] = ("onnxruntime",)
    tolerance: Positive = 1e-4


class BenchConfig(_Config):
    """How latency is measured: ``warmup`` runs, then at least ``min_samples`` and at least ``min_seconds``."""

    threads: Count = 1
    warmup: Annotated[int, Field(ge=0)] = 20
    min_samples: Count = 100
    min_seconds: NotNegative = 3.0


class GateConfig(_Config):
    """Bounds that fail the run (exit 5) when a result misses them; ``null`` switches one off.

    Attributes:
        max_drop: points of accuracy that the INT8 net may lose against the trained, unpruned float net, on every
            held-out set.
        min_accuracy: of the trained float net, from 0 to 1.
        min_macs_ratio: multiply-accumulates before pruning over those after.
    """

    max_drop: NotNegative | None = 1.0
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    min_macs_ratio: Positive | None = None


class Recipe(_Config):
    """One run, from data to report."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Count = 2
    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    prune: PruneConfig | None = None
    quantize: QuantConfig = QuantConfig()
    export: ExportConfig = ExportConfig()
    bench: BenchConfig = BenchConfig()
    gates: GateConfig = GateConfig()


def shipped() -> list[str]:
    """Return the names of the recipes that ship, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def locate(path_or_name: str | Path) -> Path:
    """Return the file of a recipe: the shipped one of that name, or the path itself; UsageError if there is neither."""
    if isinstance(path_or_name, str) and path_or_name in shipped():
        return SHIPPED / f"{path_or_name}.yaml"
    path = Path(path_or_name)
    if not path.exists():
        raise UsageError(
            f"There is no recipe {str(path_or_name)!r}.{did_you_mean(str(path_or_name), shipped())}",
            fix=f"Give the path of a YAML file, or one of: {', '.join(shipped())}.",
        )
    return path


def load(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path_or_name: a YAML file, or the name of a recipe that ships.
        overrides: ``"prune.ratio=0.3"`` and the like, later ones win; values are read as YAML.

    Raises:
        UsageError: there is no such recipe, or an override is not ``key=value``.
        RecipeError: the file is not YAML, has an unknown key, a wrong type or a value out of range; names the line.
    """
    source = str(path_or_name)
    document = strictyaml.parse(_read(locate(path_or_name)), source)
    for override in overrides:
        _override(document, override)
    try:
        return Recipe.model_validate(document.values)
    except ValidationError as error:
        raise RecipeError(*_explain(error, document, source)) from error


def quant_config(**values: Any) -> QuantConfig:
    """Make the options of ``quantize`` from values that were typed as options; UsageError (2) names a wrong one."""
    try:
        return QuantConfig(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        option = str(problem["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option} cannot be {_short(problem['input'])}.", f"{problem['msg']}.") from error


def dump(recipe: Recipe) -> str:
    """Write a recipe as YAML with every default; ``load`` reads back an equal one; equal recipes give equal texts."""
    return strictyaml.dump(recipe.model_dump(mode="json"))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes, for editors that complete and check YAML."""
    return Recipe.model_json_schema()


def _read(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait forever
            raise RecipeError(f"{path} is not a file.", fix="Give the path of a YAML file.")
        with path.open("rb") as file:
            return file.read(4 * strictyaml.MAX_CHARACTERS + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text.", f"Byte {error.start} cannot be read.") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read.", f"{error.strerror}.") from error


def _override(document: strictyaml.Document, override: str) -> None:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise UsageError(f"--set {override} is not key=value.", fix="Write it like --set prune.ratio=0.3.")
    place = f"--set {override}"
    document.set(path, strictyaml.scalar(text, place), place)


def _explain(error: ValidationError, document: strictyaml.Document, source: str) -> tuple[str, str, str]:
    """What, why and how to mend it; an unknown key goes first, because it may explain the other problems."""
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = tuple(problem["loc"])
    where, key = document.place(path) or source, ".".join(map(str, path))
    more = f"({error.error_count() - 1} more problems follow.)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = _fields(path[:-1])
        what = f"{where}: unknown key {key!r}.{did_you_mean(str(path[-1]), known)}"
        return what, f"Known here: {', '.join(known)}.", more
    if problem["type"] == "missing":
        return f"{where}: {key!r} is missing.", "`edgekit recipe schema` says what it may be.", more
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key!r} cannot be {_short(problem['input'])}.", f"{message}.", more


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that may stand in the group at ``path``."""
    config: type[BaseModel] = Recipe
    for key in path:
        annotation = config.model_fields[str(key)].annotation
        options = (annotation, *get_args(annotation))
        config = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return sorted(config.model_fields)
