# `make demo` and `make test` need nothing but Python 3.11 to 3.13 and a package registry.
PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs
TESTS ?= tests
BIN := $(VENV)/bin
# A file's tests share its fixtures, and so a worker.
WORKERS := -n 2 --dist loadfile
SUITE := -m "not slow and not stress"
CONCURRENT := $(addprefix tests/run/test_,hosts.py roll_call.py run.py signals.py) \
  $(addprefix tests/training/test_,devices.py many_steps.py seeds.py)

.PHONY: demo test quick test-all test-oldest test-newest test-torch stress flaky tpu-check gpu-check lint

demo: $(VENV)/installed
	$(BIN)/python scripts/train.py --dataset digits --depth 8 --steps 300 --runs-dir $(RUNS) --name demo --resume
	$(BIN)/python scripts/evaluate.py $(RUNS)/demo --split test

# Most of the time goes into compiling what then runs for a moment: less optimization, less time.
test: $(VENV)/installed
	XLA_FLAGS=--xla_backend_optimization_level=1 $(BIN)/python -m pytest $(WORKERS) $(SUITE)

# What a change needs: no test that takes long, starts a process or compiles a training program.
quick: $(VENV)/installed
	XLA_FLAGS=--xla_backend_optimization_level=1 $(BIN)/python -m pytest $(WORKERS) --quick -m "not slow and not stress and not long" $(TESTS)

# All tests, of the programs as users run them.
test-all: $(VENV)/installed
	$(BIN)/python -m pytest $(WORKERS) -m "not stress"

# With the oldest version of each direct dependency that pyproject.toml admits.
test-oldest:
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet uv
	$(VENV)-oldest/bin/uv pip install --python $(VENV)-oldest/bin/python --resolution lowest-direct -e ".[dev]"
	$(VENV)-oldest/bin/python -m pytest $(WORKERS) $(SUITE)

# With the newest version of everything, on the newest Python that is supported.
test-newest:
	python3.13 -m venv $(VENV)-newest
	$(VENV)-newest/bin/pip install --quiet --upgrade -e ".[dev]"
	XLA_FLAGS=--xla_backend_optimization_level=1 $(VENV)-newest/bin/python -m pytest $(WORKERS) $(SUITE)

# The tests that ask PyTorch, which is large and skipped where it is absent.
test-torch: $(VENV)/installed
	$(BIN)/pip install --quiet torch
	$(BIN)/python -m pytest $(WORKERS) tests/pytorch

# The tests of devices, processes, threads and signals fifty times, five at once: load for each other.
flaky: $(VENV)/installed
	seq 50 | xargs -P 5 -I{} sh -c '$(BIN)/python -m pytest -n 0 -q $(SUITE) $(CONCURRENT) || exit 255'

# Kills, a long run, determinism across caches: under 15 minutes, nothing else running.
stress: $(VENV)/installed
	$(BIN)/python -m pytest -n 0 -m stress tests/run/test_stress.py

# Compiles for TPUs, runs nothing: some minutes a topology.
tpu-check: $(VENV)/installed
	$(BIN)/pip install --quiet "jax[tpu]"
	$(BIN)/python benchmarks/tpu_check.py

# Compiles for an H100, runs nothing: a minute, and 5 GB to install; Python 3.12 or newer.
gpu-check:
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/pip install --quiet -e ".[train]" "jax[cuda13]"
	$(VENV)-gpu/bin/python benchmarks/gpu_check.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# uv takes a third of pip's time; pip knows the index that it is told of in its own settings.
$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile uv && $(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[dev]" \
	  || $(BIN)/pip install --quiet --no-compile -e ".[dev]"
	touch $@
