# Everything a newcomer needs; `make` and a Python are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help setup demo test check lint types matrix hosting-matrix coverage mutants release bench bench-instructions soak compliance services clean docs

help: ## these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml examples/livekv/pyproject.toml constraints/dev.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) sh scripts/setup.sh
	@touch $(STAMP)

setup: $(STAMP) ## a virtual environment in .venv with everything pinned

demo: $(STAMP) ## run the live key/value store on http://127.0.0.1:8999
	@exec $(BIN)/python scripts/demo.py

services: $(STAMP) ## install what the tests talk to (as root, on Debian), else say what is missing
	@sh scripts/services.sh

test: $(STAMP) services ## the whole test suite, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP) ## ruff, and the prose of pages and docstrings
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python scripts/prose.py

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

check: lint types test ## lint, types, tests

docs: $(STAMP) ## the documentation as a site in var/site, with a reference from the docstrings; links are checked
	@$(BIN)/mkdocs build --quiet --strict && echo "docs: var/site/index.html"

matrix: $(STAMP) ## the unit tests on the other Pythons of this machine, and on the lowest versions of what we depend on
	@$(BIN)/python scripts/matrix.py $(ON)

hosting-matrix: $(STAMP) ## the tests of hosting with other versions of Django, Flask and FastAPI
	@$(BIN)/python scripts/matrix.py frameworks

coverage: $(STAMP) ## how much of each module the tests of its room run (ROOMS="http bus")
	@$(BIN)/python scripts/covered.py $(ROOMS)

mutants: $(STAMP) ## do the tests notice small changes of meaning? (SEED=1 COUNT=47)
	@$(BIN)/python scripts/mutants.py --seed $(or $(SEED),1) --count $(or $(COUNT),47)

release: $(STAMP) ## build the distributions and try them in a clean environment
	@$(BIN)/python scripts/release.py

soak: $(STAMP) services ## the fault tests again and again, by seed (SKERRY_SOAK_SECONDS, default 600), and the seconds of the contract
	SKERRY_SOAK=1 $(BIN)/python -m pytest tests/faults tests/truth/test_random.py tests/e2e tests/contract tests/cli/test_run.py tests/bridge/test_mirror.py tests/examples/test_shop_checker.py --ignore=tests/e2e/browser -s

compliance: $(STAMP) ## foreign suites against ours and uvicorn, one table (SUITES="requests corpora frameworks django crawl clients autobahn")
	$(BIN)/python -m compliance $(SUITES)

bench: $(STAMP) ## measure against peers in one run; table and JSON
	@sh scripts/services.sh bench
	@sh scripts/bench_peers.sh $(BIN)/python
	$(BIN)/python -m benchmarks $(ON)

bench-instructions: $(STAMP) ## count the instructions of requests (needs valgrind)
	$(BIN)/python -m benchmarks.instructions

clean: ## remove what setup and runs left here
	rm -rf $(VENV) var build dist .mypy_cache .ruff_cache .hypothesis benchmarks/results
