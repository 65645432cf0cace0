# `make demo` and `make test` do everything from a fresh clone: create .venv, install the pinned set, run.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
CORES ?= all
BIN := .venv/bin
INSTALLED := .venv/requirements.lock

.PHONY: demo phantom test test-slurm bench lint docs lock clean

demo: $(INSTALLED)
	@$(BIN)/snakemake --cores $(CORES) all
	@echo "report: $(CURDIR)/results/report/index.html"

phantom: $(INSTALLED)
	@$(BIN)/snakemake --cores $(CORES) all --configfile config/phantom.yaml
	@echo "report: $(CURDIR)/results/phantom/report/index.html"

test: $(INSTALLED)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/slurm

# The phantom workflow on a SLURM that the test starts on this host, with faults on the way.
test-slurm: $(INSTALLED)
	@tests/slurm/install.sh
	@$(BIN)/python -m pytest tests/slurm

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

# Ours against its peers in short: benchmarks/README.md has the full tables.
bench: $(INSTALLED)
	@$(BIN)/python benchmarks/unet.py --quick
	@$(BIN)/python benchmarks/training_step.py --quick
	@$(BIN)/python benchmarks/resample.py --quick
	@$(BIN)/python benchmarks/store.py --quick
	@$(BIN)/python benchmarks/dag.py --quick

# The documents as a site that opens without a network.
docs: $(INSTALLED)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --site-dir site
	@echo "site: $(CURDIR)/site/index.html"

# The complete pinned set, without the address of any package index.
lock: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
		--extra dev pyproject.toml --output-file envs/requirements.lock
	@sed -i '/^      - "/d' workflow/envs/meddiff.yaml
	@sed 's/.*/      - "&"/' envs/requirements.lock >> workflow/envs/meddiff.yaml

clean:
	rm -rf .venv .snakemake

$(INSTALLED): envs/requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@cp envs/requirements.lock $(INSTALLED)
