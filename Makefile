# The commands to know. Each is a script of tools/; `make help` lists them.

# The first Python on PATH that the locked packages are made for.
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
RUN = $(if $(PYTHON),$(PYTHON),$(error No Python 3.11, 3.12 or 3.13 on PATH: install one of them, then run make again)) -B tools

.DEFAULT_GOAL := help
.PHONY: help up down test test-faults check generate bench lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

up: ## Install, start Fleetform, apply the quickstart, ask the model a question
	@$(RUN)/up.py

down: ## Stop all of it; data is kept
	@$(RUN)/down.py

test: ## Install what tests need and run every test (Python, Go, Terraform, real engines)
	@$(RUN)/test.py

test-faults: ## Every row of the fault table, every crash point, 10,000 simulated schedules (long)
	@$(RUN)/test_faults.py

check: ## Lint, types, import contracts, generated files
	@$(RUN)/check.py

generate: ## Write openapi.yaml, the Go client, the Python SDK and the provider's documentation anew
	@$(RUN)/generate.py

bench: ## Measure one figure: make bench F=F7
	@$(RUN)/bench.py $(F)

lock: ## Compile requirements/ from pyproject.toml anew
	@$(RUN)/lock.py
