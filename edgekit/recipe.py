"""A recipe in YAML: read, override, explain what is wrong with it, write it with every default.

What it may say is in ``options.py``; an unknown key is refused with the line it stands on. ``dump(load(x))`` is the
same recipe with every default written out: the ``recipe.lock.yaml`` of a run directory.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from edgekit import strictyaml
from edgekit.errors import RecipeError, UsageError, did_you_mean
from edgekit.options import QuantConfig, Recipe

SHIPPED = Path(__file__).with_name("recipes")


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
    path = _keys(problem["loc"])
    where, key = document.place(path) or source, ".".join(map(str, path))
    more = f"({error.error_count() - 1} more problems follow.)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = _fields(path[:-1])
        what = f"{where}: unknown key {key!r}.{did_you_mean(str(path[-1]), known)}"
        return what, f"Known here: {', '.join(known)}.", more
    if problem["type"] == "missing":
        return f"{where}: {key!r} is missing.", "`edgekit recipe schema` says what it may be.", more
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return f"{where}: the recipe contradicts itself.", f"{message}.", more
    return f"{where}: {key!r} cannot be {_short(problem['input'])}.", f"{message}.", more


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where a problem is, as the recipe spells it: without pydantic's names for the members of a union."""
    keys: list[int | str] = []
    for last, key in enumerate(location, 1 - len(location)):
        models = _models(_annotation(tuple(keys)))
        known = any(key in model.model_fields for model in models)
        if known or isinstance(key, int) or not models or (last == 0 and not _is_tag(key, models)):
            keys.append(key)
    return tuple(keys)


def _is_tag(key: int | str, models: list[type[BaseModel]]) -> bool:
    return "[" in str(key) or key in {"str", "constrained-str", *(model.__name__ for model in models)}


def _fields(path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that may stand in the group at ``path``."""
    return sorted({name for model in _models(_annotation(path)) for name in model.model_fields})


def _annotation(path: tuple[int | str, ...]) -> Any:
    annotation: Any = Recipe
    for key in path:
        found = [model.model_fields[str(key)] for model in _models(annotation) if key in model.model_fields]
        annotation = found[0].annotation if found else annotation if isinstance(key, int) else None
    return annotation


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The groups of keys that a value of this type may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for member in get_args(annotation) for model in _models(member)]
