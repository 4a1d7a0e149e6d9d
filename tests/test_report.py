"""The report: what it shows, what it refuses to show, and that no results file can make it do anything else."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_fixture import bench_json, results

from edgekit.bench import charts, words
from edgekit.bench.report import render
from edgekit.bench.rows import Task, final, headline, rows
from edgekit.errors import InputError, MissingDependency

SECTIONS = (
    "results",
    "latency",
    "pruning",
    "layers",
    "exports",
    "gates",
    "data",
    "environment",
    "time",
    "reproduce",
)


class Page(HTMLParser):
    """Tags, attributes and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.texts)).replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "link", "br", "rect", "line", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)


def page(data: dict[str, Any]) -> Page:
    parsed = Page(render(data))
    assert parsed.open == [], "every tag is closed"
    return parsed


def spoken(data: dict[str, Any]) -> str:
    sentence = headline(rows(data["variants"]), Task.of(data["task"]), data["recipe"].get("quantize", "") is None)
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def whole() -> Page:
    return page(results())


# What it shows


def test_it_opens_with_a_sentence_that_can_be_read_aloud() -> None:
    assert spoken(results()) == (
        "The int8 model reaches 98.15 % accuracy on the test data, 0.37 points less than the float model. "
        "It is 10.2 times smaller and needs 3.67 times fewer multiplications. "
        "One inference takes 19.8 \N{MICRO SIGN}s instead of 41.7 \N{MICRO SIGN}s, "
        "2.11 times faster than the float model."
    )


def test_every_section_is_there_and_linked(whole: Page) -> None:
    ids = {value for tag, name, value in whole.attributes if tag == "section" and name == "id"}
    links = {value[1:] for tag, name, value in whole.attributes if tag == "a" and name == "href"}
    assert ids == links == set(SECTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "98.15 % \N{MINUS SIGN}0.37 points",
        "31.3 kB 10.2\N{MULTIPLICATION SIGN} smaller",
        "212 k 3.67\N{MULTIPLICATION SIGN} fewer",
        "2.11\N{MULTIPLICATION SIGN} faster",
        "Energy , not measured: no NVIDIA energy counter: NVML Shared Library Not Found.",
        "not measured TensorRT is not installed on this machine",
        "pruned , warn: unstable",
        "Worst: block2.skip (conv2d_s8, resnet.py:35) at 29.7 dB, block2.conv2",
        "head.weight : its outputs are the model's classes",
        "model.onnxruntime.onnx",
        "9 of 9",
        "against: integer reference with unrounded adds",
        "all 3 gates passed",
        "F1 score higher is better test 98.41 % 98.22 % \N{MINUS SIGN}0.19 points",
        "at most 1 points passed",
        "Classes zero, one, two",
        "items read 1,797",
        "2 items of test are near duplicates of train",
        "5,400 items",
        "Imaginary CPU 9000",
        "1 min 9 s",
        "edgekit run digits -o runs/demo",
    ],
)
def test_it_says(whole: Page, text: str) -> None:
    assert text in whole.text


def test_an_invalid_number_is_struck_out_and_not_compared() -> None:
    data = results()
    assert re.search(r"<s [^>]*>1\.89.ms</s>", render(data))
    row = rows(data["variants"])[3]
    assert (row.faster, row.not_compared) == (None, "not compared: invalid")
    data["variants"][0]["bench"]["verdict"] = "invalid"
    assert [row.faster for row in rows(data["variants"])] == [None] * 5
    data["variants"][2]["bench"]["verdict"] = "invalid"
    data["variants"][2]["bench"]["reasons"] = ["the clock stood still"]
    data["variants"] = data["variants"][:3]
    data["variants"][1]["bench"] = None
    assert "Its latency cannot be quoted: the clock stood still." in spoken(data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"threads": 2}, "other threads"), ({"batch": 8}, "other threads or batch"), ({"header": {}}, "another machine")],
)
def test_times_taken_differently_are_not_compared(change: dict[str, Any], reason: str) -> None:
    data = results()
    data["variants"][2]["bench"].update(change)
    row = rows(data["variants"])[2]
    assert row.faster is None
    assert reason in (row.not_compared or "")


def test_the_ratio_of_calls_made_in_turn_comes_first() -> None:
    data = results()
    data["variants"][2]["bench"]["speedup"].update(ratio=3.0, low=2.9, high=3.1)
    assert (rows(data["variants"])[2].faster, rows(data["variants"])[2].interval) == (3.0, (2.9, 3.1))
    data["variants"][2]["bench"]["speedup"]["against"] = "something else"
    assert rows(data["variants"])[2].faster == pytest.approx(2.11, abs=0.01)


def test_energy_is_shown_where_it_was_measured() -> None:
    data = results()
    for index, mj in ((0, 0.42), (2, 0.14)):
        data["variants"][index]["bench"].update(energy_mj=mj, energy_reason=None)
    text = page(data).text
    assert "420 \N{MICRO SIGN}J" in text
    assert "140 \N{MICRO SIGN}J 3.00\N{MULTIPLICATION SIGN} less" in text


def test_a_failed_gate_is_said_at_the_top() -> None:
    data = results()
    data["gates"][1].update(passed=False, value=1.7)
    text = page(data).text
    assert "1 of 3 gates failed" in text
    assert "all 3 gates" not in text


def test_slower_and_larger_are_said_as_plainly() -> None:
    data = results()
    data["variants"][2]["bytes"] = 700_000
    data["variants"][2]["bench"] = bench_json("model.onnxruntime.onnx", 83.0)
    sentence = spoken(data)
    assert "2.20 times larger" in sentence
    assert "times slower than the float model" in sentence


def test_without_a_compressed_model_it_says_so() -> None:
    data = results()
    data["variants"] = data["variants"][:1]
    assert "Nothing was compressed in this run." in page(data).text
    data["variants"] = []
    assert final(rows([])) is None
    assert "Nothing was compressed" in page(data).text


def test_the_same_results_give_the_same_bytes() -> None:
    imports = "import sys; from results_fixture import results; from edgekit.bench.report import render; "
    code = imports + "sys.stdout.write(render(results()))"
    here = Path(__file__).parent
    path = os.pathsep.join((str(here), str(here.parent)))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {render(results()).encode()}


# Accessible and offline


def test_tables_have_headers_and_charts_have_words(whole: Page) -> None:
    assert whole.tags.count("thead") == whole.tags.count("table") == whole.tags.count("tbody")
    scopes = [value for tag, name, value in whole.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == whole.tags.count("th")
    labels = [value for tag, name, value in whole.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == whole.tags.count("svg") > 10
    assert all(labels)
    assert whole.tags.count("h1") == 1
    assert ("html", "lang", "en") in whole.attributes


def test_it_loads_nothing() -> None:
    html = render(results())
    assert not re.search(r"//|url\(|@import|<script|<img|<iframe|<object|javascript:", html.replace("://", "//"))


HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% for x in y %}",
    "\x1b[31mred\x1b[0m\x07",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil",
    "=cmd|'/C calc'!A0",
    "a" * 1_000_000,
    "\0\n\r\t",
    "\ud800",
)


FREE = ({"test", "varied"}, {"train", "calibration", "test", "varied"}, {"accuracy", "f1"}, {"kind", "items_read"})


def poisoned(value: Any, text: str) -> Any:
    """The same structure with every text, and every key of free choice, replaced."""
    if isinstance(value, dict):
        free = set(value) in FREE
        return {f"{text}{key}" if free else key: poisoned(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:16]))
def test_a_hostile_name_stays_a_name(whole: Page, text: str) -> None:
    html = render(poisoned(results(), text))
    parsed = Page(html)
    assert set(parsed.tags) <= set(whole.tags)
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)
    links = [value for _, name, value in parsed.attributes if name in ("href", "src")]
    assert all(value.startswith("#") or value == "data:," for value in links)
    assert not any(character in html for character in "\x1b\x07\0\N{RIGHT-TO-LEFT OVERRIDE}\ud800")
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", html, re.DOTALL)
    assert len(html) < 2_000_000
    html.encode("utf-8")


# Missing, null and wrong pieces


@pytest.mark.parametrize("key", [key for key in results() if key != "schema"])
@pytest.mark.parametrize("value", ["absent", None, [], {}, "text", 7, [None], [{}]], ids=str)
def test_a_missing_piece_is_not_measured(key: str, value: Any) -> None:
    data = results()
    if value == "absent":
        del data[key]
    else:
        data[key] = value
    assert {value for tag, name, value in page(data).attributes if tag == "section"} == set(SECTIONS)


def test_nothing_but_the_schema_is_a_report_of_nothing() -> None:
    assert page({"schema": 2}).text.count("not measured") >= 5


@pytest.mark.parametrize("data", [{}, {"schema": 1}, {"schema": "2"}, [], None, "x"])
def test_another_schema_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="schema"):
        render(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key not in ("counts", "edges_us", "schema"):
            yield from places(item, (*path, key))


PLACES = [path for path in places(results()) if path]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3))
def test_no_value_anywhere_breaks_it(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    data = copy.deepcopy(RESULTS)
    for path, value in changes:
        parent: Any = data
        try:
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    page(data)


RESULTS = results()


def test_without_jinja_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependency, match=r"edgekit\[report\]"):
        render(results())


# Words and axes


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (words.size(0), "0 B"),
        (words.size(999), "999 B"),
        (words.size(31_280), "31.3 kB"),
        (words.size(2**31), "2.15 GB"),
        (words.size(999_999), "1.00 MB"),
        (words.count(12), "12"),
        (words.count(1_813_561_344), "1.81 G"),
        (words.duration(0.5), "0.500 \N{MICRO SIGN}s"),
        (words.duration(999.96), "1.00 ms"),
        (words.duration(2.5e6), "2.50 s"),
        (words.energy(0.42), "420 \N{MICRO SIGN}J"),
        (words.energy(1500), "1.50 J"),
        (words.percent(0.98148), "98.15 %"),
        (words.plain(0.0041), "0.0041"),
        (words.plain(-1234.56), "\N{MINUS SIGN}1235"),
        (words.plain(1.23456e-9), "1.235e\N{MINUS SIGN}09"),
        (words.metric(0.5, "share"), "50.00 %"),
        (words.metric(0.5, "value"), "0.5"),
        (words.metric_change(0.49, 0.5, "share"), "\N{MINUS SIGN}1.00 points"),
        (words.metric_change(0.51, 0.5, "value"), "+2 %"),
        (words.metric_change(-1.0, -2.0, "value"), "+50 %"),
        (words.metric_change(0.5, 0.5, "value"), "equal"),
        (words.metric_change(0.5, 0.0, "value"), "0.5"),
        (words.seconds(59.94), "59.9 s"),
        (words.seconds(125.9), "2 min 5 s"),
        (words.decibels(None), "exact"),
        (words.times(2.0, "faster", "slower"), "2.00 times faster"),
        (words.times(0.5, "faster", "slower"), "2.00 times slower"),
        (words.times(1.004, "faster", "slower"), "equal"),
        (words.points(-0.0037), "\N{MINUS SIGN}0.37 points"),
        (words.fact(None), "unknown"),
        (words.fact(True), "yes"),
        (words.fact([]), "none"),
    ],
)
def test_numbers_as_words(got: str, want: str) -> None:
    assert got.replace("\N{NO-BREAK SPACE}", " ") == want


@pytest.mark.parametrize("value", [None, "3", True, float("nan"), float("inf"), [1]])
def test_what_is_no_number_is_not_measured(value: Any) -> None:
    for say in (words.size, words.count, words.duration, words.energy, words.seconds, words.percent, words.plain):
        assert say(value) == "not measured"


@settings(deadline=None, max_examples=100)
@given(st.floats(1e-3, 1e9), st.floats(1.0001, 1e6), st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_a_drawing_stays_in_its_box(low: float, span: float, counts: list[int]) -> None:
    step = low * (span - 1) / len(counts)
    item = {"edges_us": [low + step * index for index in range(len(counts) + 1)], "counts": counts}
    if not charts.is_histogram(item):
        return  # the edges coincide in floating point
    axis = charts.axis([item])
    numbers = [float(text) for text in re.findall(r"[\d.e+-]+", charts.outline(item, axis))]
    assert all(0 <= value <= 100 for value in numbers)
    assert len(axis.ticks()) <= 40
    if sum(counts):
        assert 6.0 in numbers[1::2], "the highest bin nearly fills the box"


# In a browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=2000",
    "--enable-logging=stderr",
    "--v=0",
)


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        reason = "no chromium on this machine: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


def console(chromium: str, folder: Path, html: str) -> list[str]:
    """What a browser prints on its console while it shows the page; leaves ``shot.png``."""
    source = folder / "page.html"
    source.write_text(html, encoding="utf-8")
    flags = [
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--screenshot={folder / 'shot.png'}",
        "--window-size=1200,900",
    ]
    shown = subprocess.run([chromium, *flags, source.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return [line for line in shown.stderr.splitlines() if "CONSOLE" in line]


def test_it_opens_in_a_browser_without_an_error(chromium: str, tmp_path: Path) -> None:
    assert console(chromium, tmp_path, render(results())) == []
    assert (tmp_path / "shot.png").stat().st_size > 50_000, "the page is not blank"


def test_the_browser_would_have_told(chromium: str, tmp_path: Path) -> None:
    assert len(console(chromium, tmp_path, "<!DOCTYPE html><title>x</title><script>nothing.here()</script>")) == 1


def test_a_script_that_got_in_would_still_not_run(chromium: str, tmp_path: Path) -> None:
    html = render(results()).replace("</main>", "<script>document.title = 'owned'</script></main>")
    (message,) = console(chromium, tmp_path, html)
    assert "Content Security Policy" in message
