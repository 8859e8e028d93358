# The two commands to know: `make demo` and `make test`. `make help` lists the rest.
#
#   PYTHON=…          the Python to make the virtual environment from (3.11 or newer)
#   ARGS='…'          handed on to pytest, to the demo or to the benchmarks
#   OTTER_REQUIRE=…   tiers that must not skip: docker,netns,kernel,browser,ssh

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Tests start thousands of processes: without compiled files each takes three times as long to begin.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
ARGS ?=

# pip draws its bars on a terminal and is quiet elsewhere. The build's warning that an editable
# installation is one says nothing here: the folders have the packages' names on purpose.
PIP_INSTALL = PYTHONWARNINGS=ignore:::setuptools.command.editable_wheel $(BIN)/python -m pip install \
	--disable-pip-version-check $$([ -t 1 ] || echo --quiet)

.PHONY: help setup setup-dev setup-tests check format test test-unit test-contracts test-netns \
	test-docker test-process test-kernel test-e2e test-kills demo fuzz chaos bench bench-links bench-netem bench-transport bench-streams \
	bench-machines bench-ai \
	setup-bench docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

# --- set-up: stamps make the second time quick ------------------------------------------------

setup: $(VENV)/.otter-setup  ## .venv with otterctl and otter-agent
	@echo "setup: $(BIN)/otterctl and $(BIN)/otter-agent are there"

setup-dev: $(VENV)/.otter-setup-dev  ## … and the tools of developers
	@:

$(VENV)/.otter-setup: pyproject.toml $(wildcard net/_short*.c net/_short.h)
	@.ci/debian setup
	@python=$$(.ci/python); \
	if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		echo "setup: making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); \
	fi
	@echo "setup: installing Python packages"
	@$(PIP_INSTALL) --editable '.[all]'
	@touch $@

$(VENV)/.otter-setup-dev: pyproject.toml $(VENV)/.otter-setup
	@echo "setup-dev: installing developers' tools"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.otter-setup-bench: pyproject.toml $(VENV)/.otter-setup
	@echo "setup-bench: installing the peers that benchmarks measure"
	@$(PIP_INSTALL) --editable '.[bench]'
	@touch $@

setup-bench: $(VENV)/.otter-setup-bench  ## … and the peers that the transport is measured with
	@.ci/debian peers

setup-tests: setup-dev  ## … and what the tests need: Debian packages (as root), the guest kernel
	@.ci/debian tests
	@$(BIN)/python -c 'import net._short' 2>/dev/null || \
		$(PIP_INSTALL) --no-deps --editable . # now that there is a compiler
	@$(BIN)/python -m tests.kernel.guest --prepare || echo "setup-tests: going on without it" >&2

# --- checks -----------------------------------------------------------------------------------

check: setup-dev  ## style, format, types, and who imports whom
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed ruff-check"; \
	$(BIN)/ruff format --check . || failed="$$failed ruff-format"; \
	$(BIN)/mypy || failed="$$failed mypy"; \
	$(BIN)/lint-imports --no-logo || failed="$$failed lint-imports"; \
	[ -z "$$failed" ] || { echo "check: failed:$$failed" >&2; exit 1; }

format: setup-dev  ## rewrite files in the house's format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

# --- tests: one pytest run each ---------------------------------------------------------------

test: setup-tests check  ## all tiers in one run, after check; what cannot run here is skipped by name
	@$(PYTEST) -q --beside $(ARGS)

test-unit: setup-dev  ## the quick ones: no root, no engine, no network, seconds together
	@$(PYTEST) -m 'not slow' --hypothesis-profile=quick --split tests/unit $(ARGS)

test-contracts: setup-tests  ## the suites that every driver passes
	@$(PYTEST) tests/contracts $(ARGS)

test-netns: setup-tests  ## network namespaces (root)
	@$(PYTEST) -m netns $(ARGS)

test-docker: setup-tests  ## a Docker engine of the tests' own (root)
	@$(PYTEST) -m docker $(ARGS)

test-process: setup-tests  ## the process runtime
	@$(PYTEST) -m 'not docker' -k process tests/contracts tests/integration $(ARGS)

test-kernel: setup-tests  ## netem and cgroup v2, in a guest kernel
	@$(PYTEST) tests/kernel $(ARGS)

test-e2e: setup-tests  ## the installed commands, the examples and the README
	@$(PYTEST) tests/e2e $(ARGS)

test-kills: setup-dev  ## each delivery's promise while every role is killed 100 times (some minutes)
	@OTTER_KILLS=100 $(PYTEST) tests/contracts/test_kills.py tests/contracts/test_shared_kills.py $(ARGS)

fuzz: setup-dev  ## a million damaged inputs for each decoder that reads what a peer wrote
	@$(BIN)/python -m tests.fuzz $(ARGS)

chaos: setup-tests  ## fifty rounds of faults over three machines of a lab (root): ARGS='--rounds 100 --seed 7 --log FILE'
	@$(BIN)/python -m tests.chaos $(ARGS)

# --- to look at -------------------------------------------------------------------------------

demo: $(VENV)/.otter-setup  ## a spoken question about a picture, answered aloud: ARGS='--wav FILE --image FILE'
	@$(BIN)/python -m examples.demo $(ARGS)

bench: setup-tests setup-bench  ## ours, the peers and the limit, side by side: ARGS='cli --json'
	@.ci/debian bench
	@$(BIN)/python -m benchmarks $(ARGS)

bench-netem: setup-tests setup-bench  ## links in the kernel (root); writes their page and picture
	@$(BIN)/python -m benchmarks.pages netem --write docs $(ARGS)
	@$(BIN)/python -m benchmarks.netem_pictures --write docs/reference > /dev/null

bench-machines: setup-tests setup-bench  ## many machines (root); writes their page: ARGS='scale joined'
	@$(BIN)/python -m benchmarks.pages machines --write docs $(ARGS)

bench-ai: setup-tests setup-bench  ## use cases, turns, budgets (root); writes their page: ARGS=ai-turns
	@$(BIN)/python -m benchmarks.pages ai --write docs $(ARGS)

bench-transport: setup-bench  ## the transport alone; writes its page and picture: ARGS='--rounds 20'
	@$(BIN)/python -m benchmarks.transport --write docs $(ARGS)

bench-streams: setup-tests setup-bench  ## datagrams, shared memory and the SDK; writes their page: ARGS=sdk
	@$(BIN)/python -m benchmarks.pages streams --write docs $(ARGS)

bench-links: setup-bench  ## links asked and measured (root); writes its page and pictures: ARGS=delay
	@$(BIN)/python -m benchmarks.fidelity --write docs $(ARGS)

docs: setup-dev  ## write the reference and the pictures anew from the code
	@$(BIN)/python docs/generate.py

clean:  ## remove the virtual environment, caches and what builds left
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
