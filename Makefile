# make quickstart   install and train the main job on a small made-up world
# make test         checks and default tests
# make test-slow    real trainings and real processes
# make test-matrix  every ZeRO stage, every kind of fault, many kills: longer than CI allows
# make docs         the documentation as a site, in site/
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: install quickstart test check test-slow test-matrix docs format clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/rlkit quickstart

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not matrix"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow and not matrix"

test-matrix: $(INSTALLED)
	$(BIN)/python -m pytest -m matrix

docs: $(INSTALLED)
	$(BIN)/python -m mkdocs build --strict

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build site *.egg-info
