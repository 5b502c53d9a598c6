# Each target does its own set-up. Python 3.12 or newer and make are all that must be there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup run test check format bench bench-scale kills image lock clean
help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/'

setup: .venv/.runtime        ## the environment in .venv, with what the programs need

run: setup                   ## everything, on embedded defaults: service, bridge, local store
	exec $(BIN)/isthmus up

test: .venv/.dev             ## the whole suite
	$(BIN)/python -m pytest $(ARGS)

check: .venv/.dev            ## format, lint, types, walls, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house
	$(BIN)/python .ci/audit.py

format: .venv/.dev           ## let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev            ## ratios against named baselines, printed
	$(BIN)/python -m tests.bench $(ARGS)

bench-scale: .venv/.dev      ## the same on an index of ten million instances: an hour, and 50 GB
	$(BIN)/python -m tests.bench.scale $(ARGS)

kills: .venv/.dev            ## kill bridge and archive 200 times while studies are sent: a quarter of an hour
	$(BIN)/python -m tests.e2e.spool_killing $(or $(ROUNDS),200)

image: .venv/.dev            ## build the Dockerfile without an engine, and try what comes of it
	.ci/image $(FOLDER)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v=sys.version_info; sys.exit(v < (3, 12) and "Isthmus needs Python 3.12 or newer; %s is %d.%d. Set PYTHON=/path/to/python3.12" % (sys.executable, v[0], v[1]))'
	$(PYTHON) -m venv .venv
	@# uv installs several times faster; plain pip does where it is not to be had
	@$(BIN)/python -m pip install -q uv 2>/dev/null || true

install = if $(BIN)/python -m uv --version >/dev/null 2>&1; \
	then $(BIN)/python -m uv pip install -q --python $(BIN)/python $(1); \
	else $(BIN)/python -m pip install -q $(1); fi

.venv/.runtime: .venv/bin/python requirements.lock pyproject.toml
	@$(call install,--require-hashes -r requirements.lock)
	@$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	@$(call install,--require-hashes -r requirements-dev.lock)
	@touch $@

lock: .venv/bin/python       ## pin again after a change in pyproject.toml
	$(BIN)/python -m uv lock --upgrade
	$(BIN)/python -m uv export -q --frozen --no-emit-project --no-annotate --no-header --no-default-groups --group build -o requirements.lock
	$(BIN)/python -m uv export -q --frozen --no-emit-project --no-annotate --no-header --group build --group dev -o requirements-dev.lock

clean:                       ## remove the environment and caches, never ./data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
