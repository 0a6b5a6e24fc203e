# `make demo` and `make test` set up .venv by themselves, once; both work again at once when repeated.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?=
# Tests spend much of their time waiting for processes to start: two at once take half the time, on two cores too.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast check clean

demo: .venv/installed
	$(BIN)/ifmmin run demo $(DEMO)

test: check
	$(PYTEST) --cov --cov-report term

test-fast: check
	$(PYTEST) -m "not slow"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
