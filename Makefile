# Two commands do everything: `make demo` and `make test`. Each first installs what it needs into .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
READY := $(VENV)/.ready
INSTALL := PYTHON="$(PYTHON)" .ci/environment $(VENV) .
NEEDS := pyproject.toml setup.py constraints.txt .ci/environment

.PHONY: env demo test slow lint wheel docs benchmark clean

env: $(READY)

# enough for all of octshard on a CPU or a GPU and on local disks
$(BASE): $(NEEDS)
	$(INSTALL)
	touch $@

# what tests, linters and docs need too: every extra but tpu
$(READY): $(NEEDS)
	$(INSTALL) all,docs,test
	touch $(BASE) $@

demo: $(BASE)
	$(BIN)/octshard demo --out demo

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# The long tests, which `make test` leaves out: half an hour and more.
slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The wheel, installed in an environment of its own; the demo from there.
wheel: $(READY)
	.ci/wheel

# The site of docs/, into site/.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Every benchmark, briefly; without --quick they take longer and are what docs/log.md quotes.
benchmark: $(READY)
	$(INSTALL) bench
	for script in $$(grep -l "^@benchmark" benchmarks/*.py); do $(BIN)/python $$script --quick || exit 1; done

clean:
	rm -rf demo runs build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
