"""Accuracy and signal to noise after INT8, beside ONNX Runtime's and NNCF's own quantisers.

    python benchmarks/accuracy.py [--rows digits speech] [--seeds 3] [--cache runs/accuracy] [--out benchmarks/results]

Every row is a recipe that ships, trained from several seeds; every quantiser starts from that float net and the same
calibration items, of the training set; the test items are held out. Goals: the preset loses at most half a point; it is
never worse than the best symmetric peer by more than an item, nor than the best signed one by more than a decibel; 99 %
of the products are integer. What finer schemes gain is printed, and the share of products that ONNX Runtime computes
from integers in each peer's file. Rows write ``accuracy-ROW.json``; float nets are kept in ``--cache``.

Items are counted in pairs, on the same test items: those that the preset alone has right less those that the peer
alone has right, as a mean over seeds. The peer is the one that comes out best *on these items*, so luck counts for it,
the more so the more peers there are: ``p`` is the exact two-sided McNemar test against that peer, ``p_of_best`` the
same times the number of peers (Bonferroni), and a goal that is missed is called so whatever they say. ``to_float``
counts a quantiser's right items less the float net's, which no quantiser is asked to pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import comb, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import quantisers
import torch
import trained
from numpy.typing import NDArray
from quantisers import FINER, PLAIN, PRESET, SIGNED, SYMMETRIC
from scipy import stats
from share import int8_share, runtime_share
from trained import ROWS, Case

import edgekit as ek
from edgekit import device, disk
from edgekit.data import Split
from edgekit.sqnr import sqnr_db
from edgekit.train.metrics import BATCH, predict

METRICS = ("accuracy", "auc", "r2")  # the first one that a task has; points are hundredths of it
POINTS, ITEMS, DECIBELS, SHARE = 0.5, 1.0, 1.0, 0.99
HARD_PLAIN, HARD_PRESET = 5.0, 1.0  # points that the net made hard must lose plainly, and may lose with the preset


@dataclass(frozen=True)
class Outcome:
    """One quantiser on one seed: points of the metric lost, signal to noise, and which items are right, if any."""

    drop: float
    sqnr_db: float | None
    value: float
    int8_macs: float | None = None
    right: NDArray[np.bool_] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures; of the items only how many are right."""
        shown = {key: value for key, value in asdict(self).items() if key != "right" and value is not None}
        return shown | ({} if self.right is None else {"right": int(self.right.sum()), "items": len(self.right)})


Seeds = list[dict[str, Outcome]]


def outcomes(case: Case, folder: Path) -> Iterator[tuple[str, Outcome | str]]:
    """The float net, edgekit's presets, then each peer; a peer that is absent or fails is the reason why."""
    want, base = results(predict(case.graph), case.test), None
    base = measured(case, predict(case.graph), case.test, want, want, None)
    yield "float", base
    for name, preset in ((PLAIN, "plain"), (PRESET, "balanced")):
        run, integer = quantisers.own(case, preset)
        got = results(run, case.test)
        yield name, measured(case, run, case.test, want, got, base, int8_share(case.net, integer))
    file = folder / f"{case.name}.onnx"
    ek.export_onnx(case.net, file)
    for name, make in quantisers.peers(case, file).items():
        if not quantisers.installed(name):
            yield name, f"not installed: pip install {name.split()[0]}"
            continue
        try:
            made = make()
            run, share = quantisers.session(made), runtime_share(made, case.net_test.items(1)[0])
            got = results(run, case.net_test)
        except Exception as error:  # a peer's bug is a row of the table, not the end of it
            yield name, f"{type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        yield name, measured(case, run, case.net_test, want, got, base, share)


def results(run: quantisers.Run, split: Split) -> NDArray[Any]:
    """The first output on all items."""
    return np.concatenate([run(*part.inputs)[0] for part in split.batches(BATCH)])


def measured(
    case: Case,
    run: quantisers.Run,
    split: Split,
    want: NDArray[Any],
    got: NDArray[Any],
    base: Outcome | None,
    share: float | None = None,
) -> Outcome:
    """What outputs are worth, against labels and against the float net's."""
    values = case.judge.measure(run, split).values
    name = next(metric for metric in METRICS if metric in values)
    value = values[name] or 0.0
    right = got.argmax(1) == split.targets[0] if name == "accuracy" else None
    noise = None if base is None else sqnr_db(want, got)
    return Outcome(0.0 if base is None else 100 * (base.value - value), noise, value, share, right)


def row(name: str, seeds: int, cache: Path) -> tuple[Seeds, list[dict[str, Any]], dict[str, str]]:
    """All seeds of a row, what each was trained and tested on, and which quantisers are missing and why."""
    found: Seeds = []
    facts, missing = [], dict[str, str]()
    for seed in range(seeds):
        case = trained.trained(name, seed, cache)
        facts.append(case.facts)
        with tempfile.TemporaryDirectory() as folder:
            here = dict(outcomes(case, Path(folder)))
        missing |= {method: reason for method, reason in here.items() if isinstance(reason, str)}
        found.append({method: outcome for method, outcome in here.items() if isinstance(outcome, Outcome)})
    return found, facts, missing


def mean(found: Seeds, method: str, figure: str) -> float:
    """The mean over seeds; not a number where a quantiser is missing."""
    values = [getattr(seed[method], figure) for seed in found if method in seed]
    return statistics.fmean(values) if len(values) == len(found) and None not in values else float("nan")


def interval(values: list[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean."""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / sqrt(len(values)) if len(values) > 1 else 0
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def against(found: Seeds, peer: str) -> dict[str, Any] | None:
    """The preset's items and decibels beside a peer's, means over seeds; exact McNemar test over all of them."""
    pairs = [(seed[PRESET], seed[peer]) for seed in found if peer in seed]
    if len(pairs) < len(found):
        return None
    decibels = statistics.fmean((mine.sqnr_db or 0) - (other.sqnr_db or 0) for mine, other in pairs)
    compared: dict[str, Any] = {"peer": peer, "decibels": decibels}
    if pairs[0][0].right is None:
        return compared
    better = [int((mine.right & ~other.right).sum()) for mine, other in pairs]
    worse = [int((other.right & ~mine.right).sum()) for mine, other in pairs]
    each = [b - w for b, w in zip(better, worse, strict=True)]
    return compared | {
        "items": statistics.fmean(each),
        "items_by_seed": each,
        "p": sign_test(sum(better), sum(worse)),
    }


def _to_float(found: Seeds, method: str) -> float:
    """A method's right items less the float net's, the mean over seeds."""
    rights = [(seed[method].right, seed["float"].right) for seed in found]
    return statistics.fmean(float(a.sum() - b.sum()) for a, b in rights if a is not None and b is not None)


def sign_test(better: int, worse: int) -> float:
    """Two-sided: how probable so uneven a split is if both are equally good."""
    n, k = better + worse, min(better, worse)
    return min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)


def verdicts(name: str, found: Seeds, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Every goal of a row: what was found, and whether it is met."""
    drops, both = [seed[PRESET].drop for seed in found], sum(seed["items_in_both"] for seed in facts)
    goals: dict[str, Any] = {"calibration items among test items": {"items": both, "must": "0", "met": not both}}
    if ROWS[name].spread is not None:
        plain = mean(found, PLAIN, "drop")
        goals["plain loses"] = {"points": plain, "must": f"> {HARD_PLAIN}", "met": plain > HARD_PLAIN}
    bound = POINTS if ROWS[name].spread is None else HARD_PRESET
    lost = {"points": statistics.fmean(drops), "interval": interval(drops), "must": f"<= {bound}"}
    goals["preset loses"] = lost | {"met": statistics.fmean(drops) <= bound}
    compared = [one for peer in SYMMETRIC if (one := against(found, peer)) is not None]
    signed = [one for one in compared if one["peer"] in SIGNED]
    if compared and "items" in compared[0]:
        nearest = min(compared, key=lambda one: one["items"])
        chosen = {"best_of": len(compared), "p_of_best": min(1.0, nearest["p"] * len(compared))}
        to_float = {name: _to_float(found, name) for name in (PRESET, nearest["peer"])}
        goals["items to the best symmetric"] = (
            nearest | chosen | {"to_float": to_float, "must": f">= -{ITEMS}", "met": nearest["items"] >= -ITEMS}
        )
    if signed:
        loudest = min(signed, key=lambda one: one["decibels"])
        met = loudest["decibels"] >= -DECIBELS
        goals["decibels to the best signed"] = loudest | {"must": f">= -{DECIBELS}", "met": met}
    share = min(seed[PRESET].int8_macs or 0 for seed in found)
    goals["share of products in INT8"] = {"share": share, "must": f">= {SHARE}", "met": share >= SHARE}
    return goals


def show(name: str, found: Seeds, missing: dict[str, str], goals: dict[str, Any]) -> None:
    """Print a row's table."""
    for method in found[0]:
        drops = [seed[method].drop for seed in found]
        low, high = interval(drops)
        figures = f"{100 * mean(found, method, 'value'):9.3f} {statistics.fmean(drops):8.3f} [{low:7.3f}, {high:7.3f}]"
        noise = [] if method == "float" else [mean(found, method, what) for what in ("sqnr_db", "int8_macs")]
        print(f"{name:15} {method:22} {figures}" + "".join(f"{value:8.2f}" for value in noise))
    for method, reason in missing.items():
        print(f"{name:15} {method:22} {reason}")
    for goal, what in goals.items():
        said = ", ".join(f"{key} {_short(value)}" for key, value in what.items() if key not in ("met", "must"))
        print(f"{name:15} {goal}: {said}; must be {what['must']}: {'met' if what['met'] else 'MISSED'}")
    for peer in (*FINER, "nncf symmetric"):
        if (other := against(found, peer)) is not None:
            items = f"{other['items']:+.1f} items, " if "items" in other else ""
            print(f"{name:15} the preset to {peer}: {items}{other['decibels']:+.1f} dB")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_short(each)}" for key, each in value.items())
    return str([_short(each) for each in value]) if isinstance(value, (list, tuple)) else str(value)


def main() -> int:
    """Prints and writes one row after the other; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, help="so many instead of the row's own")
    parser.add_argument("--cache", type=Path, default=Path("runs/accuracy"), help="where trained nets are kept")
    parser.add_argument("--out", type=Path, help="a folder for the figures, a JSON file for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    missed = 0
    print(f"{'row':15} {'quantiser':22} {'metric %':>9} {'points lost [95 %]':>27} {'SQNR dB':>8}{'INT8':>8}")
    for name in options.rows:
        found, facts, missing = row(name, options.seeds or ROWS[name].seeds, options.cache)
        goals = verdicts(name, found, facts)
        show(name, found, missing, goals)
        missed += sum(not goal["met"] for goal in goals.values())
        if options.out:
            by_seed = [{method: one.to_json() for method, one in seed.items()} for seed in found]
            finer = [one for peer in (*FINER, "nncf symmetric") if (one := against(found, peer)) is not None]
            result = {"benchmark": "accuracy", "row": name, "goals": goals, "to_finer_schemes": finer}
            result |= {"missing": missing, "data": facts, "seeds": by_seed, "device": device.describe()}
            disk.write_file(options.out / f"accuracy-{name}.json", (json.dumps(result, indent=1) + "\n").encode())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
