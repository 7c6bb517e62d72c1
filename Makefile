# Two commands do everything: `make demo` and `make test`. Both create the environment first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: env demo test lint benchmark clean

env: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[xla,gcs,s3,wandb,ray,test]"
	touch $(READY)

demo: $(READY)
	$(BIN)/octshard demo --out demo

test: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every benchmark, briefly; without --quick they take longer and are what docs/log.md quotes.
benchmark: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	for script in prep resample stream; do $(BIN)/python benchmarks/$$script.py --quick || exit 1; done

clean:
	rm -rf demo runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
