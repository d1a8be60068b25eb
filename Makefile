# Everything starts from a bare clone: `make train` and `make test` make .venv and install what they need.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/default.py
WORKDIR ?= runs/default
ARGS ?=
EXAMPLES ?= 2000
KILLS ?= 100
POWER_CUTS ?= 20
# Two test processes; whole files, for a file's tests share what they train, and as they are collected, so that
# the long ones do not come last. PARALLEL= runs one after another.
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
BIN = $(VENV)/bin
CPP = mnist_jax/ops/native/*.cc mnist_jax/ops/native/*.h

.PHONY: train test test-all storm fuzz audit accelerator-compile mutants lint format docs bench clean

# One stamp for each set of extras, renewed when pyproject.toml changes; "main" is what training needs, no extra.
$(VENV)/.installed-%: pyproject.toml setup.py | $(VENV)/bin/python
	@echo "== Installing mnist_jax ($*) into $(VENV): about 1 GB, takes minutes, once"
	$(BIN)/python -m pip install --disable-pip-version-check -e "$(if $(filter main,$*),.,.[$*])"
	@touch $@

$(VENV)/bin/python:
	@echo "== Making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)

train: $(VENV)/.installed-main
	@echo "== Training $(CONFIG) into $(WORKDIR)"
	$(BIN)/python -m mnist_jax.train --config $(CONFIG) --workdir $(WORKDIR) $(ARGS)

test: $(VENV)/.installed-test
	@echo "== Running the tests"
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) -m "" $(ARGS)

# Half an hour; KILLS=10000 POWER_CUTS=500 for days. What it came to is added to benchmarks/results/storm.jsonl.
storm: $(VENV)/.installed-test
	MNIST_JAX_STORM_KILLS=$(KILLS) MNIST_JAX_STORM_POWER_CUTS=$(POWER_CUTS) \
	MNIST_JAX_STORM_RESULTS=$(CURDIR)/benchmarks/results/storm.jsonl $(BIN)/python -m pytest -m storm $(ARGS)

# Minutes: EXAMPLES=100000 for hours, ARGS="-k npz" for one kind of input.
fuzz: $(VENV)/.installed-test
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz -m fuzz $(ARGS)

# What is installed for training: known vulnerabilities (from the network), and licenses.
audit: $(VENV)/.installed-audit
	$(BIN)/python tools/licenses.py
	$(BIN)/pip-audit --strict --skip-editable $(ARGS)

# Minutes. Its packages are another GB.
accelerator-compile: $(VENV)/.installed-accelerator-compile
	$(BIN)/python -m pytest -m accelerator_compile $(ARGS)

# Minutes to hours: ARGS="mnist_jax/metrics/voting.py --sample 0" for every change of one file.
mutants: $(VENV)/.installed-mutants
	$(BIN)/python -m tests.mutants $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

# The site, in site/; a warning fails it.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

bench: $(VENV)/.installed-main
	$(BIN)/python -m benchmarks.steps_per_sec $(ARGS)

clean:
	rm -rf $(VENV) build dist site *.egg-info
