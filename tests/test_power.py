"""Energy rails: exact figures from fakes, and no figure where there is no sensor to trust."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgekit.bench import nvml, power
from edgekit.bench.clock import Samples, measure
from edgekit.bench.rail import CounterRail, NoRail, Rail
from edgekit.errors import DeviceError

MS, SECOND = 1_000_000, 1_000_000_000


class Machine:
    """A clock and an energy counter of constant power that run together."""

    def __init__(self, watts: float) -> None:
        self.ns, self.watts = 0, watts

    def now(self) -> int:
        return self.ns

    def energy_mj(self) -> float:
        return self.watts * self.ns / 1e6

    def work(self) -> None:
        self.ns += 10 * MS


def counter(readings: Any, **options: Any) -> CounterRail:
    values = iter(readings)
    return CounterRail("sensor", "fake", "cpu", lambda: next(values), **options)


def window_of(rail: Rail | NoRail, machine: Machine, seconds: float = 4.0) -> power.Energy:
    window = power.EnergyWindow(rail, machine.now)
    samples = measure(machine.work, warmup=5, min_seconds=seconds, window=window, now=machine.now)
    return window.energy(samples)


def test_energy_is_of_the_timed_calls_and_exact() -> None:
    machine = Machine(watts=7.0)
    energy = window_of(CounterRail("sensor", "fake", "cpu", machine.energy_mj), machine)
    assert energy.mj == pytest.approx(70.0), "7 W for 10 ms; the warm-up is outside"
    assert energy.reason is None
    assert energy.source == "sensor, fake, idle power included"


def test_no_sensor_no_figure() -> None:
    assert window_of(NoRail("nothing here"), Machine(1)) == power.Energy(reason="nothing here")


def test_a_short_window_has_no_figure() -> None:
    machine = Machine(7.0)
    energy = window_of(CounterRail("sensor", "fake", "cpu", machine.energy_mj), machine, seconds=2.0)
    assert energy.mj is None
    assert "too short" in (energy.reason or "")


def test_another_window_than_the_timed_one_has_no_figure() -> None:
    machine = Machine(7.0)
    window = power.EnergyWindow(CounterRail("sensor", "fake", "cpu", machine.energy_mj), machine.now)
    with window:
        machine.ns += 10 * SECOND
    late = Samples((MS,) * 100, 51 * MS, 10 * SECOND)
    assert "same window" in (window.energy(late).reason or "")
    assert window.energy(Samples((MS,) * 100, 49 * MS, 10 * SECOND)).mj is not None


def test_a_slow_sensor_is_another_window() -> None:
    machine = Machine(7.0)

    def slow() -> float:
        machine.ns += 60 * MS
        return machine.energy_mj()

    assert "same window" in (window_of(CounterRail("sensor", "fake", "cpu", slow), machine).reason or "")


@pytest.mark.parametrize("reading", [0, 1])
def test_a_sensor_lost_on_the_way_costs_the_figure_and_not_the_times(reading: int) -> None:
    machine, count = Machine(7.0), iter(range(10))

    def lost() -> float:
        if next(count) == reading:
            raise DeviceError("the sensor was lost.")
        return machine.energy_mj()

    assert window_of(CounterRail("sensor", "fake", "cpu", lost), machine) == power.Energy(reason="the sensor was lost.")


def test_an_open_window_has_no_figure() -> None:
    window = power.EnergyWindow(counter([0, 1]))
    assert "never closed" in (window.energy(Samples((1,), 0, 1)).reason or "")


@pytest.mark.parametrize(("readings", "words"), [((9, 8), "backwards, from 9 to 8"), ((9, 9), "did not move")])
def test_an_impossible_counter_is_an_error(readings: tuple[int, int], words: str) -> None:
    rail = counter(readings)
    rail.start()
    with pytest.raises(DeviceError, match=words):
        rail.stop()


def test_a_counter_may_wrap_once() -> None:
    rail = counter([90, 15], wraps_at_mj=100)
    rail.start()
    assert rail.stop() == 25


def test_a_window_must_be_started() -> None:
    with pytest.raises(DeviceError, match="never started"):
        counter([1]).stop()


def test_a_rail_must_see_the_device_that_ran() -> None:
    gpu = CounterRail("GPU 0", "fake", "cuda", lambda: 0.0)
    board = CounterRail("board", "fake", "board", lambda: 0.0)
    missing = power.open_rail("cpu", (lambda: gpu,))
    assert missing == NoRail("GPU 0 measures cuda only, and the model ran on cpu")
    assert power.open_rail("cuda", (lambda: gpu,)) is gpu
    assert power.open_rail("cpu", (lambda: NoRail("x"), lambda: gpu, lambda: board)) is board
    assert power.open_rail("cpu", (lambda: NoRail("x"), lambda: NoRail("y"))) == NoRail("x; y")
    assert "no energy sensor" in power.open_rail("cpu", ()).reason  # type: ignore[union-attr]


# NVML


class NVMLError(Exception):
    pass


class NotSupported(NVMLError):
    pass


def fake_nvml(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 1, mig: int | None = 0, energy: Any = None) -> ModuleType:
    readings = iter([1000, 1000, 1500] if energy is None else energy)

    def read(handle: Any) -> int:
        value = next(readings)
        if isinstance(value, Exception):
            raise value
        return int(value)

    def mig_mode(handle: Any) -> tuple[int, int]:
        if mig is None:
            raise NotSupported("Not Supported")
        return mig, mig

    module: Any = ModuleType("pynvml")
    module.NVMLError, module.NVMLError_NotSupported, module.NVML_DEVICE_MIG_ENABLE = NVMLError, NotSupported, 1
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: gpus
    module.nvmlDeviceGetHandleByIndex = lambda index: SimpleNamespace(index=index)
    module.nvmlDeviceGetName = lambda handle: "Imaginary GPU"
    module.nvmlDeviceGetMigMode = mig_mode
    module.nvmlDeviceGetTotalEnergyConsumption = read
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


@pytest.mark.parametrize("mig", [0, None])
def test_nvml_counts_millijoules(monkeypatch: pytest.MonkeyPatch, mig: int | None) -> None:
    fake_nvml(monkeypatch, mig=mig)
    rail = nvml.open_rail()
    assert not isinstance(rail, NoRail)
    assert (rail.name, rail.covers) == ("GPU 0 (Imaginary GPU)", "cuda")
    rail.start()
    assert rail.stop() == 500


def test_nvml_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.open_rail() == NoRail("no NVIDIA energy counter: the package nvidia-ml-py is not installed")


def test_nvml_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NVMLError("NVML Shared Library Not Found")

    fake_nvml(monkeypatch).nvmlInit = fail  # type: ignore[attr-defined]
    assert nvml.open_rail() == NoRail("no NVIDIA energy counter: NVML Shared Library Not Found")


def test_nvml_on_a_gpu_without_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, energy=[NotSupported("Not Supported")])
    assert nvml.open_rail() == NoRail("no NVIDIA energy counter: Not Supported")


@pytest.mark.parametrize(
    ("options", "words"), [({"gpus": 0}, "sees 0 GPUs"), ({"gpus": 2}, "sees 2 GPUs"), ({"mig": 1}, "MIG")]
)
def test_nvml_refuses_a_counter_that_is_not_only_the_models(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, int], words: str
) -> None:
    fake_nvml(monkeypatch, **options)  # type: ignore[arg-type]
    rail = nvml.open_rail()
    assert isinstance(rail, NoRail)
    assert words in rail.reason


def test_nvml_that_goes_backwards_or_away(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, energy=[1000, 1000, 900, 1000, NVMLError("GPU is lost")])
    rail = nvml.open_rail()
    assert not isinstance(rail, NoRail)
    rail.start()
    with pytest.raises(DeviceError, match="backwards"):
        rail.stop()
    rail.start()
    with pytest.raises(DeviceError, match="GPU is lost"):
        rail.stop()


def test_this_machine_gives_a_rail_or_a_reason() -> None:
    rail = power.open_rail("cuda")
    if isinstance(rail, NoRail):
        assert rail.reason
    else:
        assert rail.covers in ("cuda", "board")
