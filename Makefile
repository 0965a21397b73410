# `make up` and `make test` set up what is missing by themselves; everything else is for people who work on the project.
VENV_PYTHON := .venv/bin/python

.PHONY: up down setup setup-tests test test-load test-dockerfiles test-vm check format bench

up: setup
	@infrastructure/up

down: setup
	@infrastructure/down

setup:
	@tools/setup

setup-tests:
	@tools/setup tests

check: setup-tests
	$(VENV_PYTHON) -m ruff format --check src tests bench tools
	$(VENV_PYTHON) -m ruff check src tests bench tools
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m pytest -q tests/unit

format: setup-tests
	$(VENV_PYTHON) -m ruff format src tests bench
	$(VENV_PYTHON) -m ruff check --fix src tests bench

test: setup-tests
	$(VENV_PYTHON) -m pytest -q tests

# Eighteen programs on debian:bookworm, built and run; `make test` does the two quickest of them.
test-dockerfiles: setup-tests
	ALL_DOCKERFILES=1 $(VENV_PYTHON) -m pytest -q tests/dockerfiles

# In a QEMU machine: docs/test-machine.md.
test-vm: setup-tests
	@tools/setup vm
	$(VENV_PYTHON) -m tests.vm all

test-load: setup-tests
	INCEPTION_LOAD=1 $(VENV_PYTHON) -m pytest -q -s tests/api/test_load.py

bench: setup-tests
	$(VENV_PYTHON) -m bench
