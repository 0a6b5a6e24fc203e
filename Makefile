# `make demo` and `make test` set up .venv by themselves, once; both work again at once when repeated.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?=
# Many tests wait for processes that start: two at once take little more than half the time, on two cores too.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-recordings test test-fast check all-tests fast-tests docs release-check clean

demo: .venv/installed
	$(BIN)/ifmmin run demo $(DEMO)

# Recordings of nobody: voices are synthetic and faces are drawn. What is there already is not made again.
SPEECH := synthetic-speech
EXAMPLE := docs/examples/make_recordings.py
demo-recordings: .venv/installed
	test -f $(SPEECH)-held-out/recordings.csv || $(BIN)/python $(EXAMPLE)
	test -f ifmmin-store/corpora/$(SPEECH)/corpus.json || $(BIN)/ifmmin data import recordings $(SPEECH) \
		--name $(SPEECH) --extract a=log-mel --extract v=$(EXAMPLE):Sketch --extract t=wordllama
	$(BIN)/ifmmin run demo --corpus $(SPEECH) --name $(SPEECH) --systems fusion,if-mmin --set epochs=40 \
		--set batch_size=16 $(DEMO)
	$(BIN)/ifmmin predict $(SPEECH) --system if-mmin --recordings $(SPEECH)-held-out \
		--output $(SPEECH)/predictions.csv
	@echo "All of these recordings are synthetic; $(SPEECH)/predictions.csv has the predictions for a voice held out."

test: .venv/installed
	$(MAKE) --jobs 2 check all-tests

test-fast: .venv/installed
	$(MAKE) --jobs 2 check fast-tests

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/mypy

all-tests: .venv/installed
	$(PYTEST) --cov

fast-tests: .venv/installed
	$(PYTEST) -m "not slow"

docs: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# The committed files, built and tried in clean environments; nothing is left behind.
release-check:
	PYTHON=$(PYTHON) .ci/release

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
