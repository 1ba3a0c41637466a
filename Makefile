# Each target sets up what it needs by itself: a .venv beside this file, and torch (the CPU build where there is no GPU).
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
P ?= phantom
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo test app bench lint profile

demo: .venv/all  ## rebuild the benchmark, run the methods, print the board
	dvc repro
	medground board --split test

test: .venv/all  ## the fast tests, then the slow ones
	$(PY) -m pytest
	$(PY) -m pytest -m slow

app: .venv/all  ## the board in a browser
	streamlit run leaderboard/app.py

bench: .venv/all  ## speed, side by side
	for script in benchmarks/*.py; do $(PY) $$script; done

lint: .venv/all
	ruff check . && ruff format --check .

profile: .venv/all  ## make profile P=paper
	medground profile $(P)

.venv/all: pyproject.toml scripts/install
	PYTHON=$(PYTHON) bash scripts/install
	touch $@
