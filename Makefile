# tablevault: `make help` lists the targets. Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types sandbox local clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## back up, damage and restore four tables on this machine, and compare every item
	@$(BIN)/python -m sandbox demo

sandbox: $(STAMP) ## keep the embedded AWS and the deployed app up; Ctrl-C ends it (SANDBOX_PORT=4599)
	@$(BIN)/python -m sandbox up

local: $(STAMP) ## serve the HTTP API with chalice local against a running sandbox (LOCAL_PORT=8000)
	@test -f .sandbox/aws-config || { echo "No sandbox is running: start one with 'make sandbox' in another terminal." >&2; exit 1; }
	@$(BIN)/chalice local --stage local --port $${LOCAL_PORT:-8000}

test: lint types ## install, lint, type-check and run every test; CI calls exactly this
	@$(BIN)/python -m pytest --numprocesses auto --dist loadgroup

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

install: $(STAMP) ## install everything into .venv

$(STAMP): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "tablevault needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Use: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean: ## remove what was installed and what the sandbox left
	rm -rf $(VENV) .sandbox .chalice/deployments .mypy_cache .ruff_cache .pytest_cache .hypothesis
