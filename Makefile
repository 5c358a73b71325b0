# Two commands set everything up: `make quickstart` and `make test`. Needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
LOWEST_PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
# The rooms whose tests hold numbers, and an old processor's instruction sets: sums are added up in another order.
NUMBERS := tests/toolkit tests/plugins tests/worker tests/statistics tests/leaderboard
OLD_CPU := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem
TWO := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

.PHONY: help quickstart test coverage test-old-cpu test-lowest test-slow test-nightly check docs format performance readme wheel clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed  ## run the main job on real data that needs no download
	$(BIN)/advtransfer run quickstart

test: $(VENV)/.developed  ## the default tests
	$(TWO)

coverage: $(VENV)/.developed  ## the default tests again, with the lines that they do not reach
	$(TWO) --cov --cov-report=
	$(BIN)/coverage report --skip-covered --sort=cover

test-old-cpu: $(VENV)/.developed  ## the default tests of the rooms that hold numbers, as an old processor computes
	$(OLD_CPU) $(TWO) $(NUMBERS)

test-lowest: $(LOWEST)/.developed  ## the same with the lowest versions that pyproject.toml admits; old libraries warn
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -n 2 -W default $(NUMBERS)

test-slow: $(VENV)/.developed  ## the tests that take minutes, in at most 40 on 2 cores
	$(TWO) --dist worksteal -m slow --durations 25

test-nightly: $(VENV)/.developed  ## what takes longer still: canaries and honest models over seeds, strengths and depths
	$(TWO) --dist worksteal -m nightly --durations 25

check: $(VENV)/.developed  ## lint, format, types, the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/typing_exceptions.py

docs: $(VENV)/.developed  ## build the documentation into docs/_build; a warning is an error
	$(BIN)/python -m sphinx -W -n --keep-going -q -c docs . docs/_build

format: $(VENV)/.developed  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

performance: $(VENV)/.developed  ## the performance claims as ratios measured side by side, and their table in docs/performance.md
	$(BIN)/python tools/performance.py

readme: $(VENV)/.developed  ## bring the README's table up to date with the committed records
	$(BIN)/python tools/readme.py --write

wheel: $(VENV)/.developed  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what these commands made
	rm -rf $(VENV) $(LOWEST) dist docs/_build docs/reference runs .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

$(LOWEST)/.developed: pyproject.toml tools/lowest.py
	$(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(LOWEST)/bin/python tools/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/constraints.txt \
	  --editable '.[brendel-bethge,hub]' --group test
	touch $@
