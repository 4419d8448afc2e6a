# `make demo` and `make test` need nothing but Python 3.11 to 3.13 and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all stress tpu-check lint

demo: $(VENV)/installed
	$(BIN)/python scripts/train.py --dataset digits --depth 8 --steps 300 --name demo --resume
	$(BIN)/python scripts/evaluate.py runs/demo --split test

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "not slow and not stress"

test-all: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "not stress"

# Kills, a long run, determinism across caches: under 15 minutes, nothing else running.
stress: $(VENV)/installed
	$(BIN)/python -m pytest -n 0 -m stress tests/test_stress.py

# Compiles for TPUs, runs nothing: some minutes a topology.
tpu-check: $(VENV)/installed
	$(BIN)/pip install --quiet "jax[tpu]"
	$(BIN)/python scripts/tpu_check.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e ".[dev]"
	touch $@
