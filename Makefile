# Everything runs in the project's own .venv. Set PYTHON to choose the interpreter it is made from (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# The models of the demo and the tests are small: more threads only get in each other's way.
export OMP_NUM_THREADS ?= 1
export TORCHINDUCTOR_COMPILE_THREADS ?= 1

PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help demo test test-all check docs figures browser lowest clean

help:
	@echo "make demo     train a VAE on the digits of scikit-learn"
	@echo "make test     run the suite, long matrices of cases in their short form"
	@echo "make test-all run the suite with every case"
	@echo "make check    ruff and mypy"
	@echo "make docs     build the documentation, docs/_build/html/index.html"
	@echo "make figures  draw the figures of the documentation and run its notebooks anew"
	@echo "make browser  fetch a Chromium by npm, for the tests that need one"
	@echo "make lowest   run the suite on the oldest releases that are supported, in .lowest"
	@echo "make clean    remove what builds and checks leave; results and .venv stay"

demo: $(INSTALLED)
	$(BIN)/vae-zoo fit --config vae_digits

test: $(INSTALLED)
	$(PYTEST) -m "not exhaustive"

test-all: $(INSTALLED)
	$(PYTEST)

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -E -W --keep-going -j auto -b html docs docs/_build/html

figures: $(INSTALLED)
	$(BIN)/python docs/figures.py
	$(BIN)/python docs/floors.py
	$(BIN)/python docs/notebooks.py

browser: .browser/chromium

.browser/chromium:
	npm install --prefix .browser --no-audit --no-fund --loglevel=error @sparticuz/chromium@147
	cd .browser && TMPDIR="$$PWD" node --input-type=module \
		-e 'import c from "@sparticuz/chromium"; await c.executablePath()'

# Warnings of old releases about newer ones beneath them are no failures.
lowest: .lowest/.installed
	.lowest/bin/python -m pytest -n 2 -W default

clean:
	rm -rf docs/_build build dist .pytest_cache .mypy_cache .ruff_cache
	find docs/models -name '*.md' ! -name index.md -delete
	find vae_zoo tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# sweeps, which has wandb's schema, asks for numpy < 2 without a need; what else it imports is in the extra dev.
# Some systems ship Python without ensurepip: there, pip itself puts pip into the environment.
$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv || \
		($(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv install pip)
	$(BIN)/python -m pip install -e '.[dev]'
	$(BIN)/python -m pip install --no-deps sweeps
	touch $@

.lowest/.installed: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv --clear .lowest
	$(PYTHON) .ci/lowest.py > .lowest/constraints.txt
	.lowest/bin/python -m pip install -c .lowest/constraints.txt -e '.[export,flows,hub,stream,sweeps]' hatchling pytest pytest-xdist
	touch $@
