# Needs git, make and Python 3.11 or newer. Everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo test lab bench columns constraints clean

help:
	@echo "make demo    your opencode sessions (or a recorded project) as tables and as a page"
	@echo "make lab     JupyterLab on the notebooks"
	@echo "make test    lint, types, import contracts, tests, notebooks, browser"
	@echo "make bench   how fast an import, loading, appending and each measure is"
	@echo "make clean   remove .venv and all that was built"

demo: $(INSTALLED)
	@$(BIN)/python -m opencode_sessions.cli demo

lab: $(INSTALLED)
	$(BIN)/python -m jupyterlab notebooks

test: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadscope
	$(BIN)/python -m pytest tests/browser
	$(BIN)/python -m pytest --nbmake notebooks

# Minutes each; the ratios in one run are what counts. `python -m benchmarks.importing --megabytes 1000`
# is the large one; benchmarks.timeline and benchmarks.explorer need Chromium.
bench: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.importing
	$(BIN)/python -m benchmarks.bulk --messages 3000
	$(BIN)/python -m benchmarks.load --postgres
	$(BIN)/python -m benchmarks.measures
	$(BIN)/python -m benchmarks.reports
	$(BIN)/python -m benchmarks.append

# The page of the frames' columns, from the code.
columns: $(INSTALLED)
	$(BIN)/python -c 'from opencode_sessions.analytics import columns; print(columns.page())' > docs/columns.md

# The newest of everything, as a clean install chooses it. Run `make test` after it.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --editable '.[test]'
	sed -n 1p constraints.txt > build/constraints.txt
	build/constraints/bin/python -m pip freeze --exclude-editable >> build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf .venv build dist opencode-demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an install that was broken off is done again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.11")'
	@echo "Installing into .venv (a minute or two, once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@
