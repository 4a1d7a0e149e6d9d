# Every target sets up what it needs: on a fresh machine `make demo` and `make test` are the whole installation.
#
#   PYTHON       the interpreter that makes .venv; 3.10 or newer, constraints.txt is tested with 3.11.
#   TORCH_INDEX  where the torch wheel comes from. Empty: the package index that pip is configured with. The default wheel
#                for x86 Linux carries CUDA and takes gigabytes; for the CPU build, give the index address that PyTorch's
#                installation page names for "CPU":
#                    make demo TORCH_INDEX=ADDRESS
#                torch goes first and alone, so that nothing installed later can choose another build of it.

PYTHON ?= python3
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
NATIVE := $(wildcard csrc/*.cc csrc/*.h csrc/*.def csrc/cpu/*.cc csrc/cpu/*.h csrc/include/*.h)
CLANG_FORMAT_FILES := $(filter %.cc %.h,$(NATIVE)) $(wildcard benchmarks/native/*)

.PHONY: demo test test-all lint format install clean

demo: install
	$(BIN)/edgekit run digits -o runs/demo --fresh

test: install
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: install
	$(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CLANG_FORMAT_FILES)

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CLANG_FORMAT_FILES)

install: .venv/installed

# The two files are stamps: a second `make` finds them newer than what they depend on and starts at once.
.venv/torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

.venv/installed: .venv/torch pyproject.toml setup.py $(NATIVE)
	$(PIP) install -c constraints.txt setuptools wheel pybind11
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[dev]"
	@touch $@

clean:
	rm -rf build dist *.egg-info edgekit/_C.*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find edgekit kernels tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
