# Everything a stranger needs: `make study`, `make test`, `make book`. See README.md.

PYTHON      ?= python3
PROFILE     ?= quick
CORES       ?= all
# True makes warnings of the book errors.
STRICT      ?= False
# CPU wheels by default; for an NVIDIA GPU: make study TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN       := .venv/bin
INSTALLED := .venv/installed
# A package index that cannot be reached costs seconds, not minutes.
PIP       := $(BIN)/python -m pip --disable-pip-version-check --retries 1 --timeout 20
# Each job computes on one thread, so that results do not depend on the number of cores; jobs that
# need the graphics card take turns.
SNAKEMAKE := PATH="$$PWD/$(BIN):$$PATH" $(BIN)/snakemake --cores "$$CORES" --resources gpu=1 --scheduler greedy \
             --nolock --rerun-incomplete --rerun-triggers mtime --quiet progress host rules

# Recipes read these from the environment, where blanks and quotes in them mean nothing.
export PYTHON PROFILE CORES STRICT TORCH_INDEX

.PHONY: study book pdf test test-slow campaign bench binder lint format notebooks clean help

study: $(INSTALLED)  ## run the study at PROFILE (default quick) and build the book
	$(SNAKEMAKE) --config profile="$$PROFILE" strict="$$STRICT" -- book
	@echo "The book is at book/_build/html/index.html"

# It falls back on the committed records where some of the profile's own are missing.
book: $(INSTALLED)  ## rebuild the book from the records that are there; computes nothing
	@shown=full; $(BIN)/lord study status --profile "$$PROFILE" | grep -q ' 0 missing$$' && shown="$$PROFILE"; \
	$(SNAKEMAKE) --config profile="$$shown" compute=False strict="$$STRICT" -- book && \
	echo "The book shows the records of profile $$shown: book/_build/html/index.html"

pdf: $(INSTALLED)  ## print the book into one PDF, by Chromium; builds it if there is none
	@test -f book/_build/html/index.html || $(MAKE) book
	$(BIN)/lord study pdf

test: $(INSTALLED)  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(INSTALLED)  ## recompute a sample of the committed results and compare
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

campaign: $(INSTALLED)  ## bad inputs and kills without number, into results/campaign.json (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m campaign tests/campaign

bench: $(INSTALLED)  ## time attacks and defences again, into results/PROFILE/performance.csv
	OMP_NUM_THREADS=1 $(BIN)/lord study run --again --profile "$$PROFILE" --experiment performance
	OMP_NUM_THREADS=1 $(BIN)/lord study run --again --profile "$$PROFILE" --experiment cost
	$(BIN)/lord study tables --profile "$$PROFILE"

binder: $(INSTALLED)  ## build what Binder builds and run each notebook in it, into book/binder.csv
	$(BIN)/python .binder/measure.py

lint: $(INSTALLED)  ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(INSTALLED)  ## apply format and the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(INSTALLED)  ## write the .ipynb of every pair from its script
	$(BIN)/jupytext --to ipynb --update notebooks/*.py

clean:  ## remove the book and the executed notebooks; records and environment stay
	rm -rf book/_build book/_executed book/_generated book/notebooks .snakemake

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# Snakemake and Jupyter start their own processes: all of them must find this environment.
$(INSTALLED): pyproject.toml
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@"$$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python has no venv module; install it with: sudo apt-get install python3-venv" >&2; exit 1; }
	"$$PYTHON" -m venv .venv
	$(PIP) install "$$(sed -n 's/^  "\(torch==[^"]*\)",$$/\1/p' pyproject.toml)" --extra-index-url "$$TORCH_INDEX"
	$(PIP) install --editable ".[study,dev]"
	@touch $@
