# Everything Tillbox needs is behind these targets; `make` alone lists them.
# Paths are relative and tools run as `.venv/bin/python -m …`, so that a clone works under any name and unactivated.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

run := .venv/bin/python -m
# Three workers on two cores: a quarter of their time tests wait for the servers that they have started.
pytest := $(run) pytest -n 3 --dist worksteal

.PHONY: help setup servers demo test test-unit test-cluster lint bench chaos mutants proof lock clean

help: ## Show this help
	@echo 'Tillbox: a countertop box that takes QR payments with or without network.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv ready: Python, the locked packages, Tillbox itself (quick when up to date)
	@sh tools/setup.sh

servers: setup ## Install the real servers the tests need, where they are missing (root or sudo)
	@sh tools/servers.sh

demo: setup ## Play a day with the network cut, then serve all screens (ARGS=--once ends after the day)
	@$(run) tillbox demo $(ARGS)

test: servers ## Run lint and every test against real servers (ARGS=… goes to pytest)
	@$(MAKE) lint
	$(pytest) $(ARGS)

test-unit: setup ## Run the tests that need no server (ARGS=… goes to pytest)
	$(pytest) tests/unit $(ARGS)

test-cluster: servers ## Run the tests of money and cache on a Galera and a Redis Cluster, and kill nodes of both (ARGS=…)
	@$(run) tests.cluster $(ARGS)

lint: setup ## Check style, types and who imports whom
	$(run) ruff check .
	$(run) ruff format --check .
	$(run) mypy
	.venv/bin/lint-imports

bench: setup ## Measure, and write build/bench.json (ARGS=… goes to the benchmarks)
	$(run) tests.benchmarks $(ARGS)

chaos: servers ## Kill, stop and cut real processes while five boxes sell (ARGS='--minutes 15 --seed 7')
	@$(run) tests.chaos $(ARGS)

mutants: servers ## Plant known bugs in copies of the product and have each one found (ARGS=NAME… for some)
	@TILLBOX_COUNTS=full $(run) tests.mutants $(ARGS)

proof: servers ## Run every long figure in full; takes hours, and goes on where it was interrupted
	@$(run) tests.proof $(ARGS)

lock: setup ## Renew requirements.lock from pyproject.toml (ARGS=--upgrade takes newer versions)
	$(run) uv pip compile --quiet --universal --generate-hashes --all-extras --python-version 3.11 \
		--custom-compile-command 'make lock' $(ARGS) pyproject.toml --output-file requirements.lock

clean: ## Remove what was installed, built and cached here
	rm -rf .venv build dist .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
