# `make demo` and `make test` set everything up themselves, in either order, and need Python 3.11 or later and make.
.PHONY: help demo test unit integration controllers lint schema lock policies environment engine requirements clean

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

environment: $(VENV)/.complete ## the virtual environment, from requirements.lock

$(VENV)/.complete: requirements.lock pyproject.toml scripts/environment.sh
	@PYTHON="$(PYTHON)" sh scripts/environment.sh "$(VENV)"

engine: $(VENV)/.complete ## a container engine that answers, and mmdebstrap
	@sh scripts/engine.sh "$(VENV)"

demo: engine ## build the reference engine's distributions, push them to a registry, verify
	@$(RUN) scripts.demo

test: engine lint ## the whole test suite
	@nohup sh scripts/peers.sh "$(VENV)" >/dev/null 2>&1 &
	@$(RUN) pytest -q --require-everything

unit: environment ## unit tests only: no engine, no network
	@$(RUN) pytest -q tests/unit

integration: engine ## integration tests only
	@$(RUN) pytest -q --require-everything tests/integration

controllers: engine ## what the controllers of clusters themselves say of the policies (builds them: a quarter of an hour, once)
	@$(RUN) pytest -q --require-everything --controllers -m controllers tests/integration

lint: environment ## ruff, mypy, the module contract, the schema
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(VENV)/bin/lint-imports --no-cache
	@$(RUN) nexus_oci.definition.schema --check
	@$(RUN) nexus_oci.policy.schema --check

schema: environment ## write the JSON schemas of the definition and the policies anew
	@$(RUN) nexus_oci.definition.schema
	@$(RUN) nexus_oci.policy.schema

lock: engine ## pin the bases' packages anew
	@$(VENV)/bin/nexus-oci lock

policies: environment ## sign the policy cache anew, with a key that is forgotten afterwards
	@$(RUN) scripts.sign_policies

requirements.lock.new: pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
		--all-extras --group dev pyproject.toml --output-file $@

requirements: requirements.lock.new ## pin the Python packages anew (needs uv)
	mv requirements.lock.new requirements.lock

clean: ## remove what builds and tests left
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache
