# `make help` lists what there is. Everything works from a fresh clone and is safe to run twice.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
# The first Python of 3.11 or newer that can make a virtual environment.
FIND_PYTHON := for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	if command -v $$python >/dev/null && \
	   $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then command -v $$python; exit; fi; done

.PHONY: help demo up down status test lint unit functional e2e bench crds lock clean distclean

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## bring up everything, run the examples over kubectl and REST, show where to look next
	@$(RUN) -m tests.support.commands demo

up: $(READY) ## the same without the examples; writes .slipway/env
	@$(RUN) -m tests.support.commands up

status: $(READY) ## what runs
	@$(RUN) -m tests.support.commands status

down: ## end operator, gateway and cluster; leave nothing behind but caches
	@if [ -x $(RUN) ]; then $(RUN) -m tests.support.commands down; fi

test: lint unit functional e2e ## all checks and tests; brings up a cluster and leaves it up for the next run

lint: $(READY) ## style, types, import contracts, CRDs up to date
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(RUN) -m slipway.crdgen --check

unit: $(READY) ## tests without a cluster, in seconds
	$(RUN) -m pytest tests/unit

functional: $(READY) ## operator and gateway in process, against a fake API server
	$(RUN) -m pytest tests/functional

e2e: $(READY) ## tests on a real cluster
	$(RUN) -m pytest tests/e2e

bench: $(READY) ## measure against the references; prints ratios
	@$(RUN) -m benchmarks

crds: $(READY) ## write crds/ from the models
	@$(RUN) -m slipway.crdgen

lock: $(READY) ## pin pyproject.toml's ranges in requirements.lock
	$(VENV)/bin/pip-compile --quiet --extra dev --generate-hashes --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements.lock pyproject.toml

clean: down ## remove everything that was made in this checkout
	rm -rf $(VENV) .slipway .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Built binaries and images stay in the cache for the next time; \`make distclean\` removes them too."

distclean: clean ## and the cache outside of it
	rm -rf "$${SLIPWAY_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/slipway}"

$(READY): requirements.lock pyproject.toml
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "Python 3.11 or newer with its venv module is needed: install python3 and python3-venv" >&2; exit 1; \
		fi; \
		echo "Installing Python"; apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null; \
		python=$$($(FIND_PYTHON)); \
		test -n "$$python" || { echo "This system's Python is older than 3.11" >&2; exit 1; }; \
	fi; \
	echo "Installing the Python packages of requirements.lock into $(VENV)"; \
	test -x $(RUN) || $$python -m venv $(VENV); \
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
