# `make demo` and `make test` set up .venv by themselves, once; both work again at once when repeated.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?=

.PHONY: demo test clean

demo: .venv/installed
	$(BIN)/ifmmin run demo $(DEMO)

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
