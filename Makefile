# `make up` and `make test` set up what is missing by themselves; everything else is for people who work on the project.
PYTHON := .venv/bin/python

.PHONY: up down setup setup-tests test check format bench

up: setup
	@infrastructure/up

down: setup
	@infrastructure/down

setup:
	@tools/setup

setup-tests:
	@tools/setup tests

check: setup-tests
	$(PYTHON) -m ruff format --check src tests bench tools
	$(PYTHON) -m ruff check src tests bench tools
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q tests/unit

format: setup-tests
	$(PYTHON) -m ruff format src tests bench
	$(PYTHON) -m ruff check --fix src tests bench

test: setup-tests
	$(PYTHON) -m pytest -q tests

bench: setup-tests
	$(PYTHON) -m bench
