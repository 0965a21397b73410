# `make up` and `make test` set up what is missing by themselves; everything else is for people who work on the project.
VENV_PYTHON := .venv/bin/python

.PHONY: help up down setup setup-tests test test-load test-dockerfiles test-vm check format bench

up: setup ## NGINX, WordPress and MariaDB, each from its own Dockerfile
	@infrastructure/up

down: setup ## stop them; their data stays
	@infrastructure/down

setup: ## what the platform itself needs, and .venv/bin/inception
	@tools/setup

setup-tests: ## and what its tests need: real engines to be judged by
	@tools/setup tests

check: setup-tests ## format, lint, strict types, fast tests
	$(VENV_PYTHON) -m ruff format --check src tests bench tools
	$(VENV_PYTHON) -m ruff check src tests bench tools
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m pytest -q tests/unit
	@found=$$($(VENV_PYTHON) -m pytest -qq --collect-only tests 2>&1) || { echo "$$found"; exit 1; }  # all can be imported

format: setup-tests ## put the format right
	$(VENV_PYTHON) -m ruff format src tests bench
	$(VENV_PYTHON) -m ruff check --fix src tests bench

test: setup-tests ## everything
	$(VENV_PYTHON) -m pytest -q tests

# Eighteen programs on debian:bookworm, built and run; `make test` does the two quickest of them.
test-dockerfiles: setup-tests ## eighteen programs, built and run
	ALL_DOCKERFILES=1 $(VENV_PYTHON) -m pytest -q tests/dockerfiles

# In a QEMU machine: docs/test-machine.md.
test-vm: setup-tests ## what only another machine can show
	@tools/setup vm
	$(VENV_PYTHON) -m tests.vm all

test-load: setup-tests ## the API under many clients at once
	INCEPTION_LOAD=1 $(VENV_PYTHON) -m pytest -q -s tests/api/test_load.py

bench: setup-tests ## beside crun, runc, podman and docker
	$(VENV_PYTHON) -m bench

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | expand -t 18
