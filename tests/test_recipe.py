"""Recipes: shipped ones load, the lock reads back equal, what is wrong is refused with the place where it stands."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import options, recipe, strictyaml, targets
from edgekit.errors import RecipeError, UsageError

MINIMAL = "name: a\ndata: {source: digits}\nmodel: {name: mlp}\ntrain: {epochs: 1, learning_rate: 0.1}\n"


def load_text(folder: Path, text: str, *overrides: str) -> recipe.Recipe:
    path = folder / "a.yaml"
    path.write_text(text, "utf-8")
    return recipe.load(path, overrides)


@pytest.mark.parametrize("name", recipe.shipped())
def test_a_shipped_recipe_loads_and_its_lock_reads_back_equal(name: str, tmp_path: Path) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name
    lock = recipe.dump(loaded)
    again = load_text(tmp_path, lock)
    assert again == loaded
    assert recipe.dump(again) == lock


def test_the_lock_spells_out_every_key_of_the_schema(tmp_path: Path) -> None:
    lock = yaml.safe_load(recipe.dump(load_text(tmp_path, MINIMAL)))
    properties = recipe.schema()["properties"]
    assert set(lock) == set(properties)
    assert set(lock["quantize"]) == set(options.QuantConfig.model_fields)
    assert lock["prune"] is None
    assert lock["quantize"]["calibration_samples"] == 256


def test_the_schema_lists_the_targets_of_the_table() -> None:
    items = recipe.schema()["$defs"]["ExportConfig"]["properties"]["targets"]["items"]
    assert tuple(items["enum"]) == targets.names()


def test_overrides_are_yaml_and_the_last_one_wins(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path, MINIMAL, "prune.ratio=0.9", "prune.ratio=0.25", "prune.exclude=[a*, b]", "train.learning_rate=1e-3",
        "data.varied={}", "gates.max_drop=null", "train.augment=true", "prune.keep_residual=true",
    )  # fmt: skip
    assert loaded.prune is not None
    assert (loaded.prune.ratio, loaded.prune.exclude) == (0.25, ("a*", "b"))
    assert loaded.train.learning_rate == 0.001
    assert loaded.data.varied == options.VariedConfig()
    assert loaded.gates.max_drop is None
    assert loaded.train.augment is True
    assert loaded.prune.keep_residual is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "prune:\n  ratoi: 0.5\n", ["a.yaml, line 6", "'prune.ratoi'", "Did you mean 'ratio'?"]),
        (MINIMAL + "quantise: {}\n", ["line 5", "Did you mean 'quantize'?"]),
        (MINIMAL.replace("epochs: 1", "epochs: true"), ["line 4", "'train.epochs' cannot be True"]),
        (MINIMAL.replace("epochs: 1", 'epochs: "1"'), ["line 4", "'train.epochs'"]),
        (MINIMAL.replace("0.1", ".nan"), ["line 4", "'train.learning_rate'", "finite"]),
        (MINIMAL.replace("0.1", "1e309"), ["line 4", "finite"]),
        (MINIMAL.replace(", learning_rate: 0.1", ""), ["line 4", "'train.learning_rate' is missing"]),
        (MINIMAL + "prune: {ratio: 1}\n", ["line 5", "'prune.ratio' cannot be 1"]),
        (MINIMAL + "export:\n  targets:\n  - onnxruntime\n  - tensorrt-9\n", ["line 8", "'tensorrt-9'", "tensorrt-10"]),
        (MINIMAL + "export: {targets: []}\n", ["line 5", "at least 1"]),
        (MINIMAL.replace("{name: mlp}", "{name: mlp, file: a.py}"), ["line 3", "either `name`, or `file`"]),
        (MINIMAL.replace("{name: mlp}", "{}"), ["line 3", "either `name`, or `file`"]),
        (MINIMAL + "seed: 1\nseed: 2\n", ["line 6", "'seed' stands twice", "line 5"]),
        (MINIMAL + "bench: &b {threads: 1}\n", ["line 5", "anchors and aliases"]),
        (MINIMAL + "bench: *b\n", ["line 5", "anchors and aliases"]),
        (MINIMAL + "threads: !!python/object/apply:os.system ['true']\n", ["line 5", "not allowed"]),
        (MINIMAL + "threads: !!python/name:os.system x\n", ["line 5", "cannot hold"]),
        (MINIMAL + "1: 2\n", ["line 5", "a key must be a word"]),
        (MINIMAL + "<<: {seed: 1}\n", ["line 5", "a key must be a word"]),
        (MINIMAL + "seed: 2001-99-99\n", ["line 5"]),
        (MINIMAL + "seed: " + "9" * 5000 + "\n", ["line 5"]),
        (MINIMAL + "seed: [1\n", ["not YAML"]),
        (MINIMAL + "---\n" + MINIMAL, ["not YAML"]),
        (MINIMAL + "name\x00: 1\n", ["not YAML"]),
        ("- 1\n", ["is not a mapping"]),
        ("", ["is not a mapping"]),
        ("a: " + "[" * 17 + "]" * 17, ["deeper than 16"]),
        ("x" * 70_000, ["65,536"]),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_with_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_text(tmp_path, text)
    assert caught.value.exit_code == 3
    for part in expected:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "error", "expected"),
    [
        ("prune.ratoi=1", RecipeError, ["--set prune.ratoi=1", "Did you mean 'ratio'?"]),
        ("train.epochs=-1", RecipeError, ["--set train.epochs=-1", "'train.epochs' cannot be -1"]),
        ("name.x=1", RecipeError, ["'name' is a value"]),
        ("seed=*a", RecipeError, ["--set seed=*a", "aliases"]),
        ("seed", UsageError, ["not key=value"]),
        ("a..b=1", UsageError, ["not key=value"]),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, error: type, expected: list[str]) -> None:
    with pytest.raises(error) as caught:
        load_text(tmp_path, MINIMAL, override)
    for part in expected:
        assert part in str(caught.value)


def test_an_override_of_a_group_takes_the_place_of_its_lines(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set train=\{epochs: 1, learning_rate: 0\}"):
        load_text(tmp_path, MINIMAL, "train={epochs: 1, learning_rate: 0}")


def test_a_wrong_option_of_quantize_is_a_usage_error() -> None:
    assert recipe.quant_config(percentile=99.0) == options.QuantConfig(percentile=99.0)
    with pytest.raises(UsageError, match=r"--percentile cannot be 7\.0.*greater than 50") as caught:
        recipe.quant_config(percentile=7.0)
    assert caught.value.exit_code == 2


def test_a_missing_recipe_names_the_close_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'digits'"):
        recipe.load("digit")


def test_what_is_not_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path, tmp_path / "pipe.yaml", tmp_path / "latin.yaml"):
        with pytest.raises(RecipeError):
            recipe.load(path)


def test_recipes_do_not_change() -> None:
    loaded = recipe.load("digits")
    with pytest.raises(ValueError, match="frozen"):
        loaded.seed = 1  # type: ignore[misc]


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=4))
@settings(deadline=None, max_examples=100)
def test_yaml_that_is_dumped_reads_back_equal(mapping: dict[str, object]) -> None:
    assert strictyaml.parse(strictyaml.dump(mapping), "a").values == mapping


@given(st.text(max_size=300) | st.text(alphabet=":-[]{}&*!|>'\"#%@,? \n\tab1.e~<", max_size=300))
@settings(deadline=None, max_examples=300)
def test_no_text_gets_past_the_typed_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        assert isinstance(strictyaml.parse(text, "a").values, dict)


@pytest.mark.parametrize("piece", ["[", "{", "a: {", "- ", "? ", "[a, ", "1:", '"', "&a ", "!!a ", "%a\n", "# a\n"])
def test_a_file_of_one_piece_over_and_over_is_refused_soon(piece: str) -> None:
    """Quadratic parsing would take minutes at this length and meet the suite's time limit."""
    with pytest.raises(RecipeError, match=r"a, line \d+|not a mapping"):
        strictyaml.parse(piece * (strictyaml.MAX_CHARACTERS // len(piece)), "a")
