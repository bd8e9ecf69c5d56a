# `make train` and `make test` start from nothing: they make the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Texts that are already on this machine are not downloaded.
ifneq ($(wildcard ../shared/corpora),)
export LETTERLOOM_CORPORA ?= $(abspath ../shared/corpora)
endif

.PHONY: train test check bench bench-long mutants clean

train: $(VENV)/installed  ## train on the embedded corpus, show what was reached
	$(BIN)/letterloom train

test: check  ## the whole test suite, after the checks
	$(BIN)/pytest $(PYTEST_OPTIONS)

check: $(VENV)/installed-dev  ## style, types, and which room may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev  ## measured speed, memory and sizes, in about three minutes
	$(BIN)/python benchmarks/run.py --quick

bench-long: $(VENV)/installed-dev  ## the figures of docs/numbers.md about speed, in two hours of a quiet machine
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/time_to_loss.py
	$(BIN)/python benchmarks/elsewhere.py --minutes 0.5
	$(BIN)/python benchmarks/planning.py shakespeare names --minutes 0.5 1

mutants: $(VENV)/installed-dev  ## seeded bugs that the suite has to catch
	$(BIN)/python tests/mutants/run.py

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[repl]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[dev]'
	touch $@
