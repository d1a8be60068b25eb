# Everything starts from a bare clone: `make train` and `make test` make .venv and install what they need.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/default.py
WORKDIR ?= runs/default
ARGS ?=
# Two test processes; whole files, for a file's tests share what they train. PARALLEL= runs one after another.
PARALLEL ?= -n 2 --dist loadfile
BIN = $(VENV)/bin

.PHONY: train test test-all storm mutants lint format bench clean

# One stamp for each set of extras, renewed when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	touch $@

train: $(VENV)/.installed-test
	$(BIN)/python -m mnist_jax.train --config $(CONFIG) --workdir $(WORKDIR) $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) -m "" $(ARGS)

storm: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m storm $(ARGS)

# Minutes to hours: ARGS="mnist_jax/metrics/voting.py --sample 0" for every change of one file.
mutants: $(VENV)/.installed-mutants
	$(BIN)/python -m tests.mutants $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.steps_per_sec $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info
