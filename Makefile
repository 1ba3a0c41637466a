# Each target sets up what it needs by itself: a .venv beside this file, and torch (the CPU build where there is no GPU).
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
P ?= phantom
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo test app train bench lint profile

demo: .venv/all  ## rebuild the benchmark, run the methods, print the board
	dvc repro
	medground board --split test

test: .venv/all  ## the fast tests, then the slow ones
	$(PY) -m pytest
	$(PY) -m pytest -m slow

app: .venv/all  ## the board in a browser
	streamlit run leaderboard/app.py

train: .venv/all  ## train the phantom's models again, and record them in dvc.lock
	for model in phantom-gemma3 phantom-qwen2_5_vl phantom-gemma3-shortcut; do \
	  $(PY) -m stages.train --model $$model || exit 1; done
	dvc commit -f train

bench: .venv/all  ## speed, side by side
	for script in benchmarks/*.py; do $(PY) $$script; done

lint: .venv/all
	ruff check . && ruff format --check .

profile: .venv/all  ## make profile P=paper
	medground profile $(P)

.venv/all: pyproject.toml scripts/install
	PYTHON=$(PYTHON) bash scripts/install
	touch $@
