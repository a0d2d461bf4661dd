# Everything works from a fresh clone with Python 3.11 or newer, a C++ compiler and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
READY := $(VENV)/ready

.PHONY: demo test lint types docs docs-check data claims bench fuzz sanitize clean

demo: $(READY)  ## shrink the embedded network to half its milliseconds; ends with the page's path
	$(BIN)/wieldy demo --out runs/demo

test: lint types docs-check  ## lint, types, generated docs and all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)  ## write the generated tables of docs/, and the site: site/index.html
	$(BIN)/python docs/generate.py
	$(SITE)

docs-check: $(READY)
	$(BIN)/python docs/generate.py --check
	$(SITE)

data: $(READY)  ## fill the cache with the data sets that are not in the package
	$(BIN)/python benchmarks/fetch_data.py

claims: $(READY)  ## measure the published properties again
	$(BIN)/wieldy claims all --out benchmarks/results/claims.json

bench: $(READY)  ## methods side by side at the same milliseconds, three seeds
	$(BIN)/python benchmarks/importance.py

fuzz: $(READY)  ## packages altered at random for half an hour
	$(BIN)/python tests/fuzz.py --minutes 30

sanitize: $(READY)  ## the kernels under the address, undefined-behaviour and thread sanitizers
	$(BIN)/python tests/kernels/sanitize.py

KERNELS := $(shell find src/wieldy/kernels -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)

$(READY): pyproject.toml constraints.txt $(KERNELS)
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'wieldy needs Python 3.11 or newer: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[compress,dev,docs]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
