# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo

.PHONY: demo test lint format benchmark docs build check-build clean

demo: .venv/installed  ## explain a few scenes and write a gallery to demo/
	$(BIN)/seewhy demo --out $(DEMO)

test: .venv/installed-dev  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: .venv/installed-dev  ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed-dev  ## put the sources into the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark: .venv/installed-benchmarks  ## cost beside pytorch-grad-cam, torch-cam and Captum
	for part in cam rules paths; do $(BIN)/python benchmarks/$${part}_cost.py; done

docs: .venv/installed-docs  ## the documentation site, in site/; fails on a broken link
	$(BIN)/mkdocs build --strict

build: .venv/installed-release  ## wheel and sdist, in dist/
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

check-build: build .venv/installed-dev  ## installs the wheel in a new environment, explains a photo offline
	SEEWHY_DIST=dist $(BIN)/pytest tests/test_release.py

clean:
	rm -rf .venv demo dist site

.venv/installed: pyproject.toml src/seewhy/__init__.py constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[bench]'
	touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[test,lint]'
	touch $@

.venv/installed-benchmarks: .venv/installed
	$(INSTALL) --editable '.[benchmarks]'
	touch $@

.venv/installed-docs: .venv/installed
	$(INSTALL) --editable '.[docs]'
	touch $@

.venv/installed-release: .venv/installed
	$(INSTALL) --editable '.[release]'
	touch $@
