# The same commands locally and in CI. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stoker-setup
DEMO ?=
TEST_PROCESSES ?= 2
DATA ?=
OUT ?= night
# Compiling every module takes longer than the whole rest; Python compiles those that are used when they are.
PIP := $(BIN)/python -m pip install -qq --no-compile -c constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
# Where it is set, every process compiles torch and transformers anew, which takes as long as importing them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test tools lint types chaos night corpus bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make setup   make .venv with everything stoker needs"
	@echo "make demo    the whole loop, offline: train, evaluate, promote, continue (DEMO='--puzzles 2000' for less)"
	@echo "make test    format, lint, types, import layers, tests"
	@echo "make chaos   200 kill -9, 100 changes of a run, every fault of tests/chaos/faults.py; writes RELIABILITY.md"
	@echo "make night   one run through every fault, with real alerts and its report (DATA=FILE.jsonl, OUT=FOLDER); some 20 minutes"
	@echo "make corpus  the zoo of good files, every malformed one (also under stoker up), planted leaks at full size"
	@echo "make bench   the figures of benchmarks/RESULTS.md"
	@echo "make docs    write docs/reference anew"
	@echo "make clean   remove .venv and caches"

setup: $(STAMP)

# torch first and alone: its wheel decides between the CPU and the GPU build, and the rest must not change that.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "stoker needs Python 3.11 or newer; say which with: make setup PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
	  { rm -rf $(VENV); echo "the new .venv has no pip; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "installing torch, then the rest, into $(VENV) ..."
	@$(PIP) torch
	@$(PIP) -e '.[train,dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/stoker demo $(DEMO)

# Side by side by whole files, whose fixtures and order stay as they are. Many tests wait for processes of their own.
test: setup tools lint types
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# Programs that tests use besides Python. Where they can't be installed, the tests of the sandbox are skipped.
tools:
	@command -v bwrap >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -y -qq bubblewrap >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq bubblewrap; } >/dev/null 2>&1; }; } || \
	  echo "bubblewrap is not installed: the sandbox of the scorer \"code\" is not tested"

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

chaos: setup
	$(BIN)/pytest tests/chaos --kills 200 --changes 100 --all-faults --record; status=$$?; $(BIN)/python tests/chaos/reliability.py; exit $$status

night: setup
	$(BIN)/python tests/chaos/night.py $(if $(DATA),--data $(DATA)) --out $(OUT)

corpus: setup
	$(BIN)/pytest tests/data/test_zoo.py tests/data/test_malformed.py tests/data/test_planted.py \
	  tests/data/test_clean_files.py tests/supervisor/test_gate_under_up.py --corpus

bench: setup
	@$(PIP) -e '.[bench]'
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/training.py --loss --rows 1000
	$(BIN)/python benchmarks/line.py --epochs 1
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/beside.py
	$(BIN)/python benchmarks/watching.py
	$(BIN)/python benchmarks/series.py
	$(BIN)/python benchmarks/intake.py
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/verdict_aa.py
	$(BIN)/python benchmarks/comparison_aa.py
	$(BIN)/python benchmarks/eta.py
	$(BIN)/python benchmarks/detectors.py
	$(BIN)/python benchmarks/serving.py

docs: setup
	$(BIN)/python -m stoker.cli.reference docs/reference

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find stoker tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
