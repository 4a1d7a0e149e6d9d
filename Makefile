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
NATIVE := $(wildcard csrc/*.cc csrc/*.h csrc/*.def csrc/cpu/*.cc csrc/cpu/*.h csrc/include/*.h \
	csrc/engine/*.cc csrc/engine/*.h csrc/engine/*.def csrc/compile_flags.txt)
CLANG_FORMAT_FILES := $(filter %.cc %.h,$(NATIVE)) $(wildcard csrc/include/*.hpp csrc/tests/*.cc csrc/tests/*.h \
	csrc/fuzz/*.cc csrc/examples/*/*.c csrc/examples/*/*.cc benchmarks/native/* \
	edgekit/export/triton_aot/runtime/*.[ch])

.PHONY: demo test test-all lint format install native native-aarch64 sanitize fuzz gpu clean

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

# The engine by CMake, with its native tests and the examples built from what it installs: here, and for aarch64 under
# an emulator. Debian: apt-get install cmake pkg-config; g++-aarch64-linux-gnu qemu-user-static.
CMAKE_BUILD = cmake --build $(1) -j 2 && cd $(1) && ctest --output-on-failure

native:
	cmake -S csrc -B build/native
	$(call CMAKE_BUILD,build/native)

native-aarch64:
	cmake -S csrc -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/csrc/cmake/aarch64-linux-gnu.cmake
	$(call CMAKE_BUILD,build/aarch64)

# The native tests under the address, undefined-behaviour and thread sanitizers.
sanitize:
	cmake -S csrc -B build/asan -DEDGEKIT_SANITIZE=address,undefined
	$(call CMAKE_BUILD,build/asan)
	cmake -S csrc -B build/tsan -DEDGEKIT_SANITIZE=thread
	$(call CMAKE_BUILD,build/tsan)

# What reads plans, on damaged ones, for FUZZ_SECONDS; the line coverage of the verifier at the end. Debian: apt-get
# install clang libclang-rt-dev llvm.
FUZZ_SECONDS ?= 600
fuzz:
	cmake -S csrc -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DEDGEKIT_FUZZ=ON -DEDGEKIT_SANITIZE=address,undefined -DEDGEKIT_COVERAGE=ON
	cmake --build build/fuzz -j 2 --target fuzz_plan write_plans
	csrc/fuzz/run build/fuzz $(FUZZ_SECONDS)

# On a machine with a GPU, with its own Python, torch and Triton: tests on the device, compute-sanitizer where it is there,
# benchmarks, JSON in benchmarks/results/. Nothing is installed and nothing fetched; it takes less than nine minutes.
GPU_PYTHON ?= python3
gpu:
	$(GPU_PYTHON) benchmarks/gpu_check.py

clean:
	rm -rf build dist *.egg-info edgekit/_C.*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find edgekit kernels tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
