# The three commands of a day: `make demo`, `make test`, `make check`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-output
TEST_PROCESSES ?= 3
# pip's own setting, where the machine has one: uv does not read pip's configuration.
WHEELS := $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)

# Workers of Ray and Prefect inherit these: no telemetry, no look at a hub, and time to start.
export DO_NOT_TRACK ?= 1
export HF_HUB_OFFLINE ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: help setup demo judges test test-fast test-gpu check format clean

help:
	@echo "make demo    set up, render the sample manifest with the embedded model"
	@echo "make judges  set up, get the networks that judge clips (150 MB)"
	@echo "make test    set up, run all tests"
	@echo "make check   format, lint, type check and all tests, as in CI"
	@echo "make clean   remove everything that these commands made"

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tempprop needs Python 3.11 or later; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt uv
# Compiled at once, for every worker and many a test start processes of their own.
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(addprefix --find-links ,$(WHEELS)) \
		--compile-bytecode --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/tempprop render configs/demo.parquet --out $(OUT)
	$(BIN)/tempprop status $(OUT)

judges: setup
	$(BIN)/python -m tempprop.evaluation.prepare_judges

test: setup
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

test-fast: setup
	$(BIN)/python -m pytest -m 'not slow and not chaos and not s3'

test-gpu: setup
	$(BIN)/python -m pytest -m gpu -s

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
