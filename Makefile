# One command for each thing that one does with this tree. Every target but `help` and `clean` sets the project up first.
study ?= digits-depth
PYTEST_ARGS ?=
bin := .venv/bin
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup demo test check bench chaos netns clean

help:
	@echo 'make setup   set up .venv; does nothing when nothing changed'
	@echo 'make demo    train the study $(study) on this machine and write its report'
	@echo 'make test    run the tests; PYTEST_ARGS="-k plan" passes options to pytest'
	@echo 'make check   formatting, linter, types'
	@echo 'make bench   measure speed'
	@echo 'make chaos   kill processes at random and look at what is left'
	@echo 'make netns   submit a study between hosts that are network namespaces; needs root'
	@echo 'make clean   remove caches; .venv and results stay'

setup:
	@.ci/setup

demo: setup
	$(bin)/ablate run $(study)
	$(bin)/ablate report $(study)

test: setup
	$(bin)/pytest $(PYTEST_ARGS)

check: setup
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/pyright

bench: setup
	$(bin)/pytest -m bench $(PYTEST_ARGS) tests $(wildcard benchmarks)

chaos: setup
	$(bin)/pytest -m chaos $(PYTEST_ARGS)

netns: setup
	$(bin)/pytest -m slow -s $(PYTEST_ARGS) tests/test_namespaces.py

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
