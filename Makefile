PYTHON ?= python3
PORT ?= 8000
# How pytest uses the cores; PARALLEL= runs one test after the other.
PARALLEL ?= --numprocesses logical --maxprocesses 8 --dist loadfile
DOCKER ?= docker

VENV := .venv
BIN := $(VENV)/bin

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test scale check format bench bench-load chaos lock image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=$(PYTHON) is the interpreter that makes $(VENV); ARGS='...' goes to pytest and to the benchmark."
	@echo "  On Linux without an NVIDIA GPU, torch is the CPU build of PyTorch's index. TORCH_INDEX names another index,"
	@echo "  or is plain: torch as pip's own index has it."

run: $(VENV)/.run ## set up and serve on http://127.0.0.1:8000; PORT=9000 for another port
	@CAMEO_PORT=$(PORT) exec $(BIN)/python -m app

test: $(VENV)/.dev ## set up and run every test; ARGS='-k payload' for some
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

scale: $(VENV)/.dev ## races of many writers on a larger S3 server, which it installs
	$(BIN)/python -m pip install --no-deps "$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["scale"])')"
	$(BIN)/python -m pytest -m scale $(ARGS)

check: $(VENV)/.dev ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## format, and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs release
docs: $(VENV)/.dev ## write the pages made from code, then build the site into site/
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: figures
figures: $(VENV)/.dev ## README's table and the pictures of the docs; ARGS='--measure WORK --faces F --pairs P --fit D' measures first
	$(BIN)/python -m docs.figures $(ARGS)

release: ## check version, changelog and work tree, then tag: make release TAG=v1.2.0
	@$(PYTHON) deploy/release.py $(TAG)

bench: $(VENV)/.bench ## measure everything: the service beside its models, then bench-load; an idle machine, half an hour
	$(BIN)/python -m bench.service $(ARGS)
	$(BIN)/python -m bench.load --docs

bench-load: $(VENV)/.bench ## measure the service under load beside its rivals, and write docs/benchmarks.md
	$(BIN)/python -m bench.load --docs $(ARGS)

chaos: $(VENV)/.dev ## thirty minutes of bad clients, restarts and version swaps; ARGS='--minutes 2' for less
	$(BIN)/python -m bench.chaos $(ARGS)

lock: $(VENV)/.dev ## write requirements/*.txt anew, after a change in pyproject.toml
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m deploy.lock

image: ## build the Docker image cameo, and cameo.cdx.json, which lists what is in it; TORCH_INDEX=plain for GPUs
	$(DOCKER) build --tag cameo --build-arg TORCH_INDEX --build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL \
	--build-arg REVISION="$$(git describe --always --dirty --abbrev=40)" .
	$(DOCKER) run --rm --entrypoint cat cameo sbom.cdx.json > cameo.cdx.json

clean: ## remove the virtual environment and caches; keep runs and models
	rm -rf $(VENV) dist site *.egg-info cameo.cdx.json .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The files .run, .dev and .bench say when was installed what the lock files name: newer ones install anew.
LOCKS := $(wildcard requirements/*.txt)
define install
	$(BIN)/python deploy/install_torch.py
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/build.txt -r requirements/$(1).txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
endef

$(VENV)/.run: pyproject.toml $(LOCKS) | $(BIN)/python
	$(call install,serve)
	@touch $@

$(VENV)/.dev: pyproject.toml $(LOCKS) | $(BIN)/python
	$(call install,dev)
	@touch $(VENV)/.run $@

$(VENV)/.bench: pyproject.toml $(LOCKS) | $(BIN)/python
	$(call install,bench)
	@touch $(VENV)/.run $(VENV)/.dev $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Cameo needs Python 3.11 or newer, $(PYTHON) is "\
	+ sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
