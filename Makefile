# Everything a contributor or an operator types. Needs Python >= 3.11 and make; all else is installed into .venv from the
# lock files, each file checked against its hash. Written for GNU make 3.81, which is what macOS ships.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# setuptools comes from the lock too, so that nothing unpinned takes part in building the project itself.
INSTALL_PROJECT := $(PIP) install --no-deps --no-build-isolation --editable .

# Tests start eighty processes, which would compile every module anew: a quarter of what a start takes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check docs fuzz bench chaos cluster console soak wheel servers clients collector lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## install and start everything on this machine: http://127.0.0.1:8080
	$(BIN)/dragoman dev

# Files are dealt out to three processes, on two cores as well: much of a test's time is spent waiting.
test: $(VENV)/.development ## install and run the whole suite
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

check: $(VENV)/.development ## lint, format, types, documentation and architecture, in less than a minute
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tests.support.pages --check
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_reprs.py
	$(BIN)/python -m tests.support.figures

docs: $(VENV)/.development ## write docs/{compatibility,configuration,conversion,errors,upstreams}.md from settings and tests
	$(BIN)/python -m tests.support.pages

fuzz: $(VENV)/.development ## feed the gateway broken bodies, streams and HTTP for some minutes
	$(BIN)/python -m tests.support.fuzz
	$(BIN)/python -m tests.support.patterns

bench: $(VENV)/.development ## measure the gateway beside a bare proxy
	$(BIN)/python -m bench

chaos: $(VENV)/.development ## kill, freeze and cut off processes, and check that no batch item is lost, in half an hour
	$(BIN)/python -m tests.chaos

cluster: $(VENV)/.development ## run it behind haproxy, restart and kill everything, upgrade and roll back, in four minutes
	$(BIN)/python -m tests.cluster

console: $(VENV)/.development ## visit every page of the console with the system's Chromium, photograph it, run axe
	$(PIP) install --requirement tests/console/requirements.txt
	$(BIN)/python -m tests.console console-pictures

soak: $(VENV)/.development ## send a million requests, streams and batch items, and watch memory and counters (an hour)
	$(BIN)/python -m tests.soak $(if $(SHARE),--share $(SHARE))

wheel: $(VENV)/.development ## build the wheel into dist/, and try it in a clean environment
	rm -rf dist build
	git describe --always --dirty --exclude '*' > gateway/commit.txt || rm gateway/commit.txt
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist . ; status=$$?; rm -f gateway/commit.txt; exit $$status
	$(PYTHON) tests/deploy/try_wheel.py dist/*.whl

servers: $(VENV)/.development ## run it with real llama.cpp, vLLM, SGLang, LiteLLM and others, installed on demand (4 GB)
	$(BIN)/python -m tests.servers run

clients: $(VENV)/.development ## run real coding agents and the official SDKs against it, installed on demand (3 GB; npm)
	$(BIN)/python -m tests.clients

collector: $(VENV)/.development ## check traces and relayed telemetry in MLflow and Phoenix, installed on demand (1.5 GB)
	$(BIN)/python -m tests.collector mlflow
	$(BIN)/python -m tests.collector phoenix

# uv resolves for every platform and Python at once and keeps the markers; the versions of both locks agree.
COMPILE := --universal --python-version 3.11 --group build --generate-hashes --no-header --no-annotate --upgrade --quiet

lock: ## choose the newest versions that pyproject.toml allows
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; \
	"$$tools/bin/python" -m pip --disable-pip-version-check --quiet install uv; \
	"$$tools/bin/uv" pip compile $(COMPILE) --output-file requirements.lock pyproject.toml >/dev/null; \
	"$$tools/bin/uv" pip compile $(COMPILE) --extra test --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml >/dev/null

clean: ## remove .venv, caches and build results
	rm -rf $(VENV) build dist bench/bin *.egg-info .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find gateway workers tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than its lock or pyproject.toml exactly when something has to be installed again.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --no-deps --require-hashes --requirement requirements.lock
	$(INSTALL_PROJECT)
	@touch $@

# The development lock holds all of the runtime lock, so it satisfies `make run` as well. Python compiles the modules that
# are imported, a fifth of all: pip would take a quarter of the installation to compile every one.
$(VENV)/.development: requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --no-compile --no-deps --require-hashes --requirement requirements-dev.lock
	$(INSTALL_PROJECT)
	@touch $(VENV)/.runtime $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=python3.13 run" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Dragoman needs 3.11 or newer. Name one: make PYTHON=python3.13 run" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) comes without its venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
