# make demo   install, and improve a small language model on this machine in about 12 minutes
# make test   install, and run every check
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WALL ?= 12m
JOBS ?= 2

.PHONY: demo test check fast clean

# That nothing better was found (3) or that the audit rejected it (4) is a result, no failure of make.
demo: $(VENV)/.train
	$(BIN)/novum run nanochat --profile cpu --wall $(WALL) || case $$? in 3|4) ;; *) exit 1 ;; esac

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

# Format, lint and types: what needs no minutes.
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fast: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow"

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Novum needs Python 3.11 or newer: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(VENV)/bin/python pyproject.toml setup.py constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml setup.py constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[train,llm,mcp,dev]'
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
