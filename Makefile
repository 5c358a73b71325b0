# Two commands set everything up: `make quickstart` and `make test`. Needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow check format performance readme wheel clean

quickstart: $(VENV)/.installed  ## run the main job on real data that needs no download
	$(BIN)/advtransfer run quickstart

test: $(VENV)/.developed  ## the default tests, with coverage
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --skip-covered --sort=cover

test-slow: $(VENV)/.developed  ## the tests that take minutes
	$(BIN)/pytest -m slow

check: $(VENV)/.developed  ## lint, format, types, the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/typing_exceptions.py

format: $(VENV)/.developed  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

performance: $(VENV)/.developed  ## the performance claims, as ratios measured side by side
	for script in tests/performance/*.py; do $(BIN)/python $$script || exit 1; done

readme: $(VENV)/.developed  ## bring the README's table up to date with the committed records
	$(BIN)/python tests/readme.py --write

wheel: $(VENV)/.developed  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what these commands made
	rm -rf $(VENV) dist runs .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@
