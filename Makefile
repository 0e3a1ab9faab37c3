# Two commands matter: make book, make test. Each sets up what it needs.
PRESET ?= smoke
CORES ?= 2
PYTHON ?= python3 python3.13 python3.12 python3.11
comma := ,

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
ENV := .venv/.installed
BIN := $(CURDIR)/.venv/bin
# The environment comes first, for commands and for the kernels of notebooks.
export PATH := $(BIN):$(PATH):$(CURDIR)/.venv-uv/bin
export VIRTUAL_ENV := $(CURDIR)/.venv
export JUPYTER_PREFER_ENV_PATH := 1
unexport PYTHONHOME

.PHONY: help env book records test lint lab bench lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  Variables: PRESET=smoke|quick|paper  CORES=2  PYTHON=python3.12; of records: ONLY=lan  GPU=trainings at once"

env: $(ENV) ## set up .venv from requirements.lock (done by every other target)

# uv does the work: the one on PATH, else one of its own in .venv-uv.
$(ENV): requirements.lock pyproject.toml
	@echo "== Setting up .venv (once; the first time downloads about 3 GB)"
	@python=; for word in $(PYTHON); do \
	  if PATH="$${PATH#*:}" command -v $$word >/dev/null && \
	     PATH="$${PATH#*:}" $$word -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python=$$(PATH="$${PATH#*:}" $$word -c 'import sys; print(sys.executable)'); break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer among: $(PYTHON)."; \
	  echo "  What to do: install one, or name it: make PYTHON=/path/to/python3.11 ..."; exit 2; fi; \
	if ! uv --version >/dev/null 2>&1; then \
	  echo "== Installing uv into .venv-uv"; \
	  rm -rf .venv-uv; mkdir .venv-uv; \
	  "$$python" -m pip install --quiet --disable-pip-version-check --target .venv-uv uv || \
	  { "$$python" -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv; } || \
	  { rm -rf .venv-uv; echo "uv could not be installed."; \
	    echo "  What to do: install pip or python3-venv or uv, or check the network, and run make again"; exit 2; }; \
	  echo '*' > .venv-uv/.gitignore; fi; \
	[ -x .venv/bin/python ] || uv venv --quiet --python "$$python" .venv; \
	uv pip sync --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock; \
	uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "== .venv is ready"

book: $(ENV) ## render data, execute every notebook at PRESET, compile _build/html/index.html
	@echo "== Making the book: preset $(PRESET), $(CORES) cores"
	@python -m fercore.cli book make --preset $(PRESET) --cores $(CORES)

records: $(ENV) ## train every record that the book wants at PRESET and that is missing or stale (ONLY=lan: of one paper)
	@echo "== Records: preset $(PRESET)$(if $(ONLY),$(comma) only $(ONLY)), $(or $(GPU),$(CORES)) at a time"
	@python -m snakemake records --cores $(or $(GPU),$(CORES)) --nolock --keep-going --rerun-incomplete --quiet rules \
	  --scheduler greedy $(if $(GPU),--resources gpu=$(GPU)) \
	  --config records=1 preset=$(PRESET) $(if $(ONLY),only=$(ONLY)) $(if $(GPU),gpu=1)
	@echo "== Done. fercore plan says what is left, git status which records are new"

test: $(ENV) ## everything that is checked: style, unit tests, all notebooks, the book
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory book PRESET=smoke
	@echo "== Tests"
	@CORES=$(CORES) OMP_NUM_THREADS=1 python -m pytest --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder
	@echo "== All checks passed. The book: $(CURDIR)/_build/html/index.html"

lint: $(ENV) ## style of code and notebooks
	@echo "== Style"
	@ruff check . || { echo "  What to do: ruff check --fix ."; exit 1; }
	@ruff format --check . || { echo "  What to do: ruff format ."; exit 1; }

lab: $(ENV) ## JupyterLab on the notebooks' sources
	@echo "== JupyterLab on notebooks/ (Ctrl-C ends it)"
	@python -m jupyterlab --notebook-dir=notebooks

bench: $(ENV) ## the measurements that README and book state
	@for file in tests/bench/bench_*.py; do echo "== $$file"; python $$file; done
	@echo "== Measured. book/measured.md says which number is which"

lock: ## pin the newest versions that pyproject.toml allows
	@echo "== Resolving requirements.lock"
	@uv pip compile pyproject.toml --extra book --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --upgrade --quiet --output-file requirements.lock
	@$(MAKE) --no-print-directory environment.yml
	@echo "== Done: look at git diff requirements.lock environment.yml, then make test"

# pip refuses an editable package beside hashes, so conda gets the lock's versions without them.
environment.yml: requirements.lock
	@{ echo "# The environment of requirements.lock for conda; written by: make lock"; \
	  echo "name: fercore"; echo "channels: [conda-forge]"; echo "dependencies:"; \
	  echo "  - python=3.11"; echo "  - pip"; echo "  - pip:"; echo "      - --editable ."; \
	  awk '/^[A-Za-z0-9]/ { sub(/ *\\$$/, ""); print "      - \"" $$0 "\"" }' requirements.lock; } > $@

clean: ## remove what was made (keeps .venv and the records of your own training runs)
	rm -rf _build _data .snakemake .pytest_cache .ruff_cache .hypothesis
	@[ ! -d _runs ] || find _runs -mindepth 1 -maxdepth 1 ! -name records -exec rm -rf {} +
	@[ ! -d _runs/records ] || echo "Kept: _runs/records (make distclean removes it, too)"

distclean: clean ## clean, and .venv and _runs/records as well
	rm -rf _runs .venv .venv-uv fercore.egg-info
