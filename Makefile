# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo
DEVICE ?= cpu
# The lowest version that pyproject.toml allows, unless there is no build of it.
LOWEST_TORCH ?= 2.10.0
LOWEST := bench,app,dicom,tiff

.PHONY: demo test test-lowest constraints-lowest lint format benchmark docs build check-build clean

demo: .venv/installed  ## explain sample photos, measure methods on scenes, and write a page to demo/
	$(BIN)/seewhy demo --out $(DEMO) --overwrite

test: .venv/installed-dev  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test-lowest: .venv-lowest/installed  ## the quick tests with the lowest versions that are allowed
	OMP_NUM_THREADS=1 .venv-lowest/bin/pytest tests/test_naming.py tests/test_options.py \
		tests/test_maps.py tests/core/test_probe.py tests/core/test_walk.py \
		tests/methods/test_tsgb.py tests/bench/test_config.py

lint: .venv/installed-dev  ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed-dev  ## put the sources into the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark: .venv/installed-benchmarks  ## cost beside pytorch-grad-cam, torch-cam and Captum
	for part in cam rules paths perturbation; do \
		$(BIN)/python benchmarks/$${part}_cost.py --device $(DEVICE); done

docs: .venv/installed-docs  ## the documentation site, in site/; fails on a broken link
	$(BIN)/mkdocs build --strict

build: .venv/installed-release  ## wheel and sdist, in dist/
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

check-build: build .venv/installed-dev  ## installs the wheel in a new environment, explains a photo offline
	SEEWHY_DIST=dist $(BIN)/pytest tests/test_release.py

clean:
	rm -rf .venv .venv-lowest demo dist site

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

.venv-lowest/installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check 'torch==$(LOWEST_TORCH)' \
		--constraint constraints-lowest.txt --editable '.[$(LOWEST)]' pytest hypothesis scikit-learn
	touch $@

# Torch and what belongs to it is left out: which build it is depends on the machine.
constraints-lowest:  ## write constraints-lowest.txt anew, after a change of pyproject.toml; wants uv
	{ echo "# The lowest versions that pyproject.toml allows (Python 3.11, Linux): 'make $@'."; \
	uv pip compile --quiet --no-header --no-annotate --python-version 3.11 \
		--resolution lowest-direct $(addprefix --extra ,bench app dicom tiff) pyproject.toml \
	| grep -vE '^(torch|triton|nvidia|cuda)'; } > $@.new
	mv $@.new $@.txt
