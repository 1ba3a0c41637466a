# Each target sets up what it needs by itself: a .venv beside this file, and torch (the CPU build where there is no GPU).
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
P ?= phantom
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo test check app train docs bench lint profile

demo: .venv/all  ## rebuild the benchmark, run the methods, print the board
	dvc repro
	medground board --split test

test: .venv/all  ## the fast tests, then the slow ones, a file at a time on every core
	$(PY) -m pytest -n auto --dist loadfile
	$(PY) -m pytest -n auto --dist loadfile -m slow

app: .venv/all  ## the board in a browser
	streamlit run leaderboard/app.py

train: .venv/all  ## train the phantom's models again, those whose code or settings changed
	dvc repro code fetch
	dvc --cd pipelines/phantom repro
	sha256sum --quiet --check pipelines/phantom/*.sha256

docs: .venv/all  ## the documentation as a site, in site/
	mkdocs build --strict

bench: .venv/all .cache/peers  ## speed side by side, growth, ablations, cost; on a GPU the true sizes
	$(PY) -m benchmarks.speed
	$(PY) -m benchmarks.peers
	$(PY) -m benchmarks.growth
	$(PY) -m benchmarks.anatomy
	$(PY) -m benchmarks.entry
	$(PY) -m benchmarks.cost
	if [ -f data/anatomy/concepts.parquet ]; then $(PY) -m benchmarks.medfocus && $(PY) -m benchmarks.demo; \
	  else echo "benchmarks.medfocus and benchmarks.demo: not run, they need the pipeline's tables (make demo)"; fi
	if $(PY) -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then mkdir -p .cache && \
	  $(PY) -m benchmarks.gpu --rates .cache/rates.json && $(PY) -m benchmarks.cost --rates .cache/rates.json; \
	  else echo "benchmarks.gpu: not run, there is no GPU"; fi

.cache/peers: benchmarks/peers.txt  # what only benchmarks.peers imports; without it, that says what is missing
	-$(PY) -m pip install --quiet --no-deps --upgrade --target $@ -r $< && touch $@

lint: .venv/all  ## style and types
	ruff check . && ruff format --check .
	mypy medground stages

check: lint  ## what has to pass before a change goes in
	$(PY) -m pytest

profile: .venv/all  ## make profile P=paper
	medground profile $(P)

.venv/all: pyproject.toml constraints.txt scripts/install
	PYTHON=$(PYTHON) bash scripts/install
	touch $@
