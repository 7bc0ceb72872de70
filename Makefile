# tablevault: `make help` lists the targets. Everything is installed into .venv; the sandbox and the demo keep their
# state and logs in ~/.cache/tablevault. Nothing else on the machine is touched, and `make clean` removes both.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_OPTIONS := --quiet --disable-pip-version-check

# The environment that `make deploy` deploys from, and the packages it deploys: only what the hashes allow.
DEPLOYER := $(VENV)/deployer
WHEELS := $(VENV)/wheels
# Of Lambda, when .chalice/config.json says arm64: manylinux2014_aarch64.
LAMBDA_PLATFORM ?= manylinux2014_x86_64
UV := uv==0.13.9
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(LOCK_OPTIONS)

.DEFAULT_GOAL := help
.PHONY: help install demo sandbox local test thorough lint types simulate crashpoints load fuzz bench schemas lock audit deploy clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

demo: $(STAMP) ## back up, damage and restore four tables on this machine, and compare every item
	@$(BIN)/python -m sandbox demo

sandbox: $(STAMP) ## keep the embedded AWS and the deployed app up; Ctrl-C ends it (SANDBOX_PORT=4599)
	@$(BIN)/python -m sandbox up

local: $(STAMP) ## serve the HTTP API with chalice local against a running sandbox (LOCAL_PORT=8000)
	@$(BIN)/python -m sandbox local

test: lint types ## install, lint, type-check and run every test; CI calls exactly this
	@$(BIN)/python -m pytest --numprocesses auto --dist loadgroup

thorough: $(STAMP) ## the tests, with every case of each (twice as long)
	@$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --thorough

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

simulate: $(STAMP) ## whole backups and restores in simulated time, with faults (SEEDS=… as tests.simulation takes them)
	@$(BIN)/python -m tests.simulation $(SEEDS)

crashpoints: $(STAMP) ## the same, killed once at every single call to AWS (POINT=… one of them again)
	@$(BIN)/python -m tests.simulation crash-points $(POINT)

load: $(STAMP) ## the same, with many workers, events and restores at once
	@$(BIN)/python -m tests.simulation load

fuzz: $(STAMP) ## atheris on what stands in the bucket (FUZZ="<target> --runs N")
	@$(BIN)/python -m tests.hostile.fuzz $(FUZZ)

bench: $(STAMP) ## measure against others, and write them into benchmarks/README.md (BENCH="write_path memory --rounds 3"; needs cc)
	@$(BIN)/python -m benchmarks $(BENCH)

schemas: $(STAMP) ## write docs/schemas from the types of manifest.json and table.json
	@$(BIN)/python -m tests.schemas

lock: $(STAMP) ## write requirements.txt and requirements-deploy.txt from their .in files (LOCK_OPTIONS=--upgrade; needs an index)
	@$(BIN)/python -m pip install $(PIP_OPTIONS) $(UV)
	@$(LOCK) requirements.in --output-file requirements.txt
	@$(LOCK) requirements-deploy.in --constraints requirements.txt --output-file requirements-deploy.txt

audit: $(STAMP) ## known vulnerabilities of what is deployed (needs PyPI's JSON API)
	@$(BIN)/pip-audit --strict --progress-spinner off --disable-pip --require-hashes -r requirements-deploy.txt || { \
		echo "The audit is not passed: see above for a vulnerability, or for a package about which pypi.org could not be asked." >&2; exit 1; }

deploy: $(DEPLOYER)/.installed ## chalice deploy with packages verified by their hashes (STAGE=prod)
	@test -n "$(STAGE)" || { echo "Say which stage of .chalice/config.json to deploy: make deploy STAGE=prod" >&2; exit 1; }
	@rm -rf $(WHEELS) .chalice/deployments
	@$(DEPLOYER)/bin/python -m compileall -q --invalidation-mode checked-hash chalicelib
	@$(DEPLOYER)/bin/python -m pip download $(PIP_OPTIONS) --require-hashes --only-binary :all: --dest $(WHEELS) -r requirements.txt
	@$(DEPLOYER)/bin/python -m pip download $(PIP_OPTIONS) --require-hashes --only-binary :all: --dest $(WHEELS) -r requirements.txt \
		--platform $(LAMBDA_PLATFORM)
	@PIP_NO_INDEX=1 PIP_FIND_LINKS=$(abspath $(WHEELS)) PYTHONDONTWRITEBYTECODE=1 $(DEPLOYER)/bin/chalice deploy --stage $(STAGE)

install: $(STAMP) ## install everything into .venv

$(STAMP): requirements.txt requirements-dev.txt
	@echo "Installing into $(VENV) (once, about a minute) ..."
	@$(call make_environment,$(VENV))
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install $(PIP_OPTIONS) -r requirements-dev.txt
	@touch $@

$(DEPLOYER)/.installed: requirements-deploy.txt
	@$(call make_environment,$(DEPLOYER))
	@$(DEPLOYER)/bin/python -m pip install $(PIP_OPTIONS) --require-hashes -r requirements-deploy.txt
	@touch $@

define make_environment
command -v "$(PYTHON)" >/dev/null || { \
	echo "There is no Python at '$(PYTHON)'. Use: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "tablevault needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Use: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
"$(PYTHON)" -m venv $(1)
endef

clean: ## remove what was installed, and the state and logs of sandbox and demo
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m sandbox clean; fi
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/tablevault/benchmarks"
	rm -rf $(VENV) .sandbox .chalice/deployments .mypy_cache .ruff_cache .pytest_cache .hypothesis
