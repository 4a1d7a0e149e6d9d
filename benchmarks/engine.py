"""The native engine beside ONNX Runtime, OpenVINO and LiteRT: nets x threads x parties, and what became of the goals.

    python benchmarks/engine.py [--nets resnet18 tiny-kws] [--threads 1 2] [--peers ...] [--rounds 31] [--out FILE]

Every party runs the same float net, compressed by its own tools, in the fastest of its settings; its answer is checked
before and after it is timed. A row that cannot be measured says why, and the table goes on. README.md beside this file
says what the columns are and what is done for fairness. A goal counts on a processor with AVX-512 VNNI only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import engine_parties
import numpy as np
import torch
from engine_nets import NETS, Missing, Prepared, prepare
from engine_parties import OWN, PEERS, Setting
from engine_rounds import Failed, Party, check, rounds, start
from ratios import Ratio, against_best, standing

import edgekit as ek
from edgekit import device, disk
from edgekit.bench import conditions

RESULTS = Path(__file__).parent / "results"
TRIAL = 5  # rounds to find the fastest setting of a party
NO_VNNI = "no AVX-512 VNNI here"
Report = dict[str, Any]


class Bench:
    """What one run was asked for, and one net at a time.

    Attributes:
        folder: files of the net, gone when the run ends.
        cores: that every party is pinned to.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.cores = options.cores or sorted(os.sched_getaffinity(0))

    def rows(self) -> Iterator[Report]:
        """A row for each net and number of threads."""
        for name in self.options.nets:
            try:
                net = prepare(name, self.folder / name)
                files, reasons = self._files(net)
            except Exception as error:  # whatever it is, the other nets go on
                for threads in self.options.threads:
                    yield {"net": name, "threads": threads, "parties": {}, "status": said(error)}
                continue
            for threads in self.options.threads:
                yield {"net": name, "threads": threads, **self._row(net, files, reasons, threads)}

    def _files(self, net: Prepared) -> tuple[dict[str, list[tuple[Setting, Path]]], dict[str, Report]]:
        """The file of every setting of every party, and why there is none."""
        np.save(net.folder / "item.npy", net.item.numpy())
        files: dict[str, list[tuple[Setting, Path]]] = {}
        reasons: dict[str, Report] = {}
        for party in (OWN, *self.options.peers):
            files[party], reasons[party] = [], {}
            try:
                own = party == OWN
                settings = engine_parties.edgekit(net, self.options.isa) if own else PEERS[party](net)
                for setting in settings:
                    path = net.folder / f"{party} {setting.label}{setting.suffix}".replace(" ", "-")
                    try:
                        setting.make(path)
                        files[party].append((setting, path))
                    except Exception as error:
                        reasons[party][setting.label] = said(error)
            except Exception as error:
                reasons[party][""] = said(error)
        return files, reasons

    def _row(self, net: Prepared, files: Any, reasons: Any, threads: int) -> Report:
        if threads > len(self.cores):
            return {"parties": {}, "status": f"{threads} threads need as many cores, {len(self.cores)} may be used"}
        running: dict[str, Party] = {}
        report: dict[str, Report] = {party: {"settings": dict(reasons[party])} for party in files}
        try:
            for party, choices in files.items():
                best = self._fastest(net, choices, threads, report[party]["settings"])
                if best is not None:
                    running[party] = best
                    best.us.clear()
            before, load = conditions.look(), os.getloadavg()[0]
            failed = rounds(running, self.options.rounds)
            findings = [finding.reason for finding in conditions.changes(before, conditions.look())]
            self._check_again(running, net, failed)
            return self._judged(net.net.goals.get(threads), running, failed, report) | {
                "cores": self.cores[:threads],
                "load": load,
                "findings": [text for text in findings if "other processes" not in text],
            }
        finally:
            for one in running.values():
                one.close()

    def _fastest(self, net: Prepared, choices: Any, threads: int, settings: Report) -> Party | None:
        """The party in the fastest of its settings, still running; the medians of all go into ``settings``."""
        tried: dict[str, Party] = {}
        for setting, file in choices:
            try:
                party = start(setting, file, net.folder / "item.npy", threads, self.cores[:threads])
            except Failed as error:
                settings[setting.label] = str(error)
                continue
            try:
                check(party, net.want, net.folder)
                tried[setting.label] = party
            except Failed as error:
                settings[setting.label] = str(error)
                party.close()
        failed = rounds(tried, TRIAL if len(tried) > 1 else 1)
        settings.update(failed)
        settings.update({label: statistics.median(one.us) for label, one in tried.items() if label not in failed})
        alive = {label: one for label, one in tried.items() if label not in failed}
        best = min(alive, key=lambda label: float(settings[label]), default=None)
        for label, one in tried.items():
            if label != best:
                one.close()
        return alive[best] if best is not None else None

    def _check_again(self, running: dict[str, Party], net: Prepared, failed: dict[str, str]) -> None:
        for party, one in running.items():
            try:
                if party not in failed:
                    check(one, net.want, net.folder)
            except Failed as error:
                failed[party] = f"after it was timed: {error}"

    def _judged(self, goal: float | None, running: Any, failed: dict[str, str], report: dict[str, Report]) -> Report:
        times = {party: one.us for party, one in running.items() if party not in failed}
        for party, one in running.items():
            report[party] |= {"setting": one.setting.label, **one.facts, "rounds_us": one.us}
        for party, row in report.items():
            row["status"] = "ok" if party in times else failed.get(party) or reason(row["settings"])
            row["median_us"] = statistics.median(times[party]) if party in times else None
        peers = {party: us for party, us in times.items() if party != OWN}
        ratio = against_best(times[OWN], peers) if OWN in times and peers else None
        vnni = "avx512_vnni" in device.cpu_flags()
        return {
            "parties": report,
            "ratio": asdict(ratio) if ratio else None,
            "goal": goal,
            "standing": standing(ratio, goal, None if vnni else NO_VNNI),
            "status": "ok" if ratio else f"no ratio: {OWN if OWN not in times else 'every peer'} was not timed",
        }


def said(error: Exception) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return text[:300] if isinstance(error, Missing) else f"{type(error).__name__}: {text[:300]}"


def reason(settings: Report) -> str:
    """Why no setting of a party ran."""
    return "; ".join(f"{label}: {why}" if label else str(why) for label, why in settings.items()) or "no setting"


def heading(peers: list[str]) -> str:
    """The first line of the table."""
    columns = " ".join(f"{name:>16}" for name in (OWN, *peers))
    return (
        f"{'net':13} {'thr':>3} {columns}  {'best peer':16} {'ratio':>6} {'95 % interval':>15}  goal  what became of it"
    )


def line(row: Report, peers: list[str]) -> str:
    """A row as text; what was not measured stands below it."""
    parties, ratio = row["parties"], row.get("ratio")
    medians = [parties.get(name, {}).get("median_us") for name in (OWN, *peers)]
    columns = " ".join(f"{'-':>16}" if one is None else f"{one:>13.1f} us" for one in medians)
    text = f"{row['net']:13} {row['threads']:>3} {columns}"
    if ratio is not None:
        one = Ratio(**ratio)
        interval = f"{one.low:.3f}..{one.high:.3f}"
        text += f"  {one.best:16} {one.ratio:6.3f} {interval:>15}"
        text += f"  {row['goal'] or '-':<4}  {row['standing']}; {one.verdict}"
    else:
        text += f"  {row['status']}"
    return "\n".join(
        [text, *(f"    {name}: {one['status']}" for name, one in parties.items() if one["status"] != "ok")]
    )


def environment() -> Report:
    """The machine, the instruction sets that edgekit sees on it, and every version."""
    from edgekit import _C

    machine = device.describe()
    packages = {**machine["packages"], **engine_parties.versions()}  # type: ignore[dict-item]
    return {**machine, "packages": packages, "isa": _C.isa_flags(), "vnni": "avx512_vnni" in device.cpu_flags()}


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--cores", nargs="+", type=int, help="that every party is pinned to; all that may be used")
    parser.add_argument("--isa", help="force a tier of the native engine")
    parser.add_argument("--out", type=Path, help="default: results/engine-FINGERPRINT.json")
    return parser.parse_args()


def main() -> int:
    """Print rows as they come and write them all; 0 even where rows could not be measured."""
    options, machine = arguments(), environment()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{machine['cpu']}, fingerprint {machine['fingerprint']}, isa {machine['isa']}, {options.rounds} rounds")
    if not machine["vnni"]:
        print("No AVX-512 VNNI: these are figures of this machine, and say nothing about the goals.")
    print(heading(options.peers), flush=True)
    out = options.out or RESULTS / f"engine-{machine['fingerprint']}.json"
    found: list[Report] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in Bench(options, Path(folder)).rows():
            found.append(row)
            print(line(row, options.peers), flush=True)
            document = {"benchmark": "engine", "rounds": options.rounds, "environment": machine, "rows": found}
            disk.write_file(out, (json.dumps(document, indent=1) + "\n").encode())
    print(f"written to {out}; edgekit {ek.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
