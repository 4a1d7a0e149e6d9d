"""What the report says of a task: errors and shares, in tables and in sentences, and of a model that stays in float."""

import pytest
from results_fixture import regression, results
from test_report import page, spoken


def test_an_error_is_spoken_in_percent_of_the_float_models() -> None:
    data = regression()
    assert spoken(data).startswith(
        "The int8 model's mean squared error on the test data is 0.00408, 2 % more than the float model's. It is 10.2"
    )
    text = page(data).text
    assert "Mean squared error, test lower is better" in text
    assert "0.00408 +2 %" in text
    assert "coefficient of determination higher is better test" in text
    assert "\N{MINUS SIGN}0.25 \N{MINUS SIGN}150 %" in text


@pytest.mark.parametrize(
    ("own", "base", "words"),
    [
        (0.5, 0.5, "is 0.5, the same as the float model's."),
        (0.25, 0.5, "is 0.25, 50 % less than the float model's."),
        (9.0, 0.5, "is 9, more than the float model's 0.5."),
        (0.5, 0.0, "is 0.5, more than the float model's 0."),
        (None, 0.5, "The mean squared error of the int8 model was not measured: the outputs are not finite."),
        (0.5, None, "mean squared error on the test data is 0.5. It is"),
    ],
)
def test_every_comparison_of_errors_is_a_sentence(own: float | None, base: float | None, words: str) -> None:
    data = regression()
    for row, value in ((data["variants"][2], own), (data["variants"][0], base)):
        row["metrics"]["test"]["mse"] = value
        row["unmeasured"] = {"test": {"mse": "the outputs are not finite"}} if value is None else {}
    assert words in spoken(data)


def test_a_metric_that_was_not_measured_says_why() -> None:
    text = page(results()).text
    assert "F1 score higher is better varied not measured it was not asked for" in text


def test_a_model_that_stays_in_float_says_so() -> None:
    data = results()
    data["recipe"]["quantize"] = None
    data["layers"] = []
    assert spoken(data).startswith("The model stays in float, because the recipe says so. The int8 model reaches")
    assert "not measured: the model stays in float, because the recipe says so ( quantize: null )." in page(data).text
    data["variants"] = data["variants"][:1]
    assert spoken(data) == "The model stays in float, because the recipe says so."


def test_one_metric_needs_no_second_table() -> None:
    data = results()
    del data["task"]["metrics"]["f1"]
    assert "All metrics" not in page(data).text


def test_facts_about_the_data_are_words() -> None:
    data = results()
    columns = [{"name": "age", "words": []}, {"name": "town", "words": ["Bonn", "Ulm"]}]
    data["data"]["facts"] = {"columns": columns, "rate": 16000, "shape": {"height": 8, "width": 6}, "odd": None}
    text = page(data).text
    assert "columns age, town (words: Bonn, Ulm) rate 16,000 shape height: 8, width: 6 odd unknown" in text
