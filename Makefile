# Two commands on a fresh machine: `make demo`, `make test`. Both make their own environment in .venv.
PYTHON ?= python3
VENV ?= .venv
SM ?= 90
STEP ?= 1
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test quick fuzz docs picture vectors lint types format check check-gpu pack-gpu clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gpu_pile needs Python 3.11 or newer, this is %s: try make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## the main job on the small real corpus of tests/data
	$(BIN)/gpu-pile run configs/quickstart.yaml

test: $(VENV)/.developing  ## the whole suite
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

quick: $(VENV)/.developing  ## the tests that take less than 2 s of CPU time each: under two minutes on two cores
	$(BIN)/python -m pytest --quick --numprocesses auto --maxprocesses 4 --dist worksteal

fuzz: $(VENV)/.developing  ## the property tests on new random examples
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile random --numprocesses auto --maxprocesses 4 --dist worksteal

docs: $(VENV)/.developing  ## write the generated pages: docs/signals.md, docs/configuration.md, docs/api.md, docs/commands/
	$(BIN)/python tools/make_signals_md.py
	$(BIN)/python tools/make_configuration_md.py
	$(BIN)/python tools/make_api_md.py
	$(BIN)/python tools/make_commands_md.py

picture: $(VENV)/.installed  ## docs/images/report.png, the top of the demo's report; needs Chromium
	$(BIN)/python tools/make_report_picture.py

vectors: $(VENV)/.developing  ## freeze the results of one operation in tests/vectors: OP=name
	$(BIN)/python -m tests.freeze $(OP)

lint: $(VENV)/.developing  ## ruff, and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developing  ## mypy, strict
	$(BIN)/mypy

format: $(VENV)/.developing  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint types test  ## what a change must pass

check-gpu:  ## on a machine with a GPU: STEP=1 speed of operations, 2 of whole runs, 3 equal bytes, 4 compute-sanitizer
	PYTHON=$(if $(filter-out python3,$(PYTHON)),$(PYTHON),$(if $(wildcard $(BIN)/python),$(BIN)/python,python3)) bash tools/check_gpu.sh $(STEP)

pack-gpu: $(VENV)/.developing  ## build/gpu/pack.tar.xz for a GPU machine without a package registry; SM=90, SMALL=1: no cuDF
	$(BIN)/python tools/pack_gpu.py --sm $(SM) $(if $(SMALL),--small)

clean:  ## remove the environment and the demo's run
	rm -rf $(VENV) demo build dist
