# Everything that a person or CI does, by name. `make` alone explains itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
HACK := PYTHONPATH=hack:tests $(BIN)/python
PYTEST := $(BIN)/pytest
# uv knows nothing of pip's configuration; this runs before anything is installed.
UV_SETTINGS := PYTHONPATH=hack $(PYTHON) -m images.machine
GENERATED := find crds helm examples -type f -exec sha256sum {} +

##@ Start here
.PHONY: demo
demo: setup ## A cluster, the operator, and two FineTuneJobs to Succeeded (first run: set-up included)
	$(HACK) -m demo

.PHONY: test
test: setup ## All set-up and every test but the slow ones
	@$(MAKE) -j2 lint build  # one waits for the disk while the other compiles
	@$(MAKE) test-fast
	@$(MAKE) test-e2e

.PHONY: help
help: ## This text
	@awk 'BEGIN {FS = ":.*##"; printf "\nUsage: make \033[36m<target>\033[0m\n"} \
	  /^[a-zA-Z0-9_-]+:.*?##/ {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2} \
	  /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)}' $(MAKEFILE_LIST)

##@ Develop
.PHONY: setup
setup: .venv/.installed ## The virtual environment, from pinned versions with hashes

.venv/.installed: requirements/uv.txt requirements/dev.txt pyproject.toml
	@echo "setup: virtual environment with the pinned dependencies (about a minute, 6 GB)"
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -q && apt-get install -qy python3-venv; }
	@! command -v apt-get >/dev/null || test -e /etc/ssl/certs/ca-certificates.crt || \
	  { apt-get update -q && apt-get install -qy ca-certificates; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@eval "$$($(UV_SETTINGS))" && export VIRTUAL_ENV=.venv && \
	  $(BIN)/uv pip sync -q --system-certs --require-hashes requirements/dev.txt && \
	  $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: generate
generate: setup ## Write what is generated: the CRD, the chart's copy, the examples' ConfigMap
	$(BIN)/python -m finetune_api.crd
	$(BIN)/python hack/make_examples.py

.PHONY: lock
lock: setup ## Resolve the dependencies anew into requirements/
	hack/lock.sh

.PHONY: fmt
fmt: setup ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: lint
lint: setup ## Format, style, types, import borders, and that generated files are current
	@before="$$($(GENERATED) | sort)"; $(MAKE) generate; after="$$($(GENERATED) | sort)"; \
	  diff <(echo "$$before") <(echo "$$after") || \
	  { echo "lint: generated files were not current; 'make generate' has just written them"; exit 1; }
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=operator:trainer $(BIN)/lint-imports

##@ Test
.PHONY: build
build: setup ## Make what the tests run: Kubernetes from its Go modules, a small model (once, minutes)
	$(HACK) -m cluster build
	$(HACK) hack/smollm2.py

.PHONY: test-unit
test-unit: setup ## Pure decisions, under 10 s
	$(PYTEST) tests/unit -q -n 2

.PHONY: test-fast
test-fast: setup build ## Unit, contract, chart, trainer, and real processes without a node
	$(PYTEST) tests -m "not slow and not e2e" -q -n 2 --dist loadfile

.PHONY: test-e2e
test-e2e: setup deploy ## Everything that needs pods, on the embedded cluster
	$(PYTEST) tests/e2e -m "e2e and not slow" -q -n 4 --dist worksteal

.PHONY: test-slow
test-slow: setup deploy ## The slow tests
	$(PYTEST) tests -m slow

.PHONY: bench
bench: setup ## The benchmarks; figures go to docs/benchmarks/ (kwok for them needs Go 1.26)
	$(HACK) -m cluster build --kwok
	$(HACK) -m bench

##@ Cluster
.PHONY: cluster
cluster: setup ## The embedded cluster (or the one that KUBECONFIG names)
	$(HACK) -m cluster up

.PHONY: images
images: cluster ## Build the images and make them known to the cluster
	$(HACK) -m images build --push

.PHONY: deploy
deploy: setup ## Operator, Azure OpenAI emulator and model hub on the cluster, with Helm
	$(HACK) -m deploy

.PHONY: undeploy
undeploy: setup ## Remove what `deploy` installed
	$(HACK) -m deploy --remove

.PHONY: cluster-down
cluster-down: setup ## Stop the embedded cluster and remove what it made
	$(HACK) -m cluster down
