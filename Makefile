# `make help` lists what there is. Every target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# dvc and the stages it starts are those of .venv, whatever else is on the PATH. Tools are called as modules: their scripts
# name the place where .venv was made, and would be another folder's in a checkout that was copied or moved.
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONUNBUFFERED := 1

SHOWN := Experiment|advised_plan|advice|probability|expected_shortfall|resolution|accuracy|accuracy_low|accuracy_high|trainable_parameters|train_flops|train_seconds|peak_memory_bytes

# `make record` keeps what a study found in docs/$(INTO).
INTO ?= $(STUDY)
CHOOSE = python -m tools.choose '$(STUDY)'$(if $(FOLDER), --folder '$(FOLDER)')
CHOSEN = $(if $(STUDY)$(FOLDER),@$(CHOOSE))

.PHONY: help setup check study plans look show record readme benchmark architectures test test-slow trials lint lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BIN)/ready .dvc/plots/page.html ## install what requirements.lock pins, into .venv

$(BIN)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python must be 3.11 or newer. Got %d.%d instead. Use make PYTHON=<path>." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.dvc/plots/page.html: tools/plots_page.py $(BIN)/ready
	@$(BIN)/python -m tools.plots_page --out $@

study: setup ## run the study of params.yaml, as far as it is stale, and show its comparison; STUDY=beans: a ready one
	$(CHOSEN)
	@python -m tools.check params.yaml
	@python -m dvc repro || { python -m dvc checkout --quiet; echo "Nothing is lost: what dvc had cleared is back, and other studies' runs are in its cache."; exit 1; }
	@python -m tools.show reports

check: setup ## look at the images before anything is trained: counts, duplicates, a contact sheet, minutes
	$(CHOSEN)
	@python -m tools.check params.yaml
	@python -m dvc repro prepare || { python -m dvc checkout --quiet; exit 1; }
	@python -m tools.survey params.yaml

plans: setup ## what each plan of params.yaml lets learn, part by part
	$(CHOSEN)
	@python -m tools.plans params.yaml

look: setup ## see inside RUN (a folder of data/runs) what it makes of IMAGE (a file): filters, maps, Grad-CAM
	@python -m tools.look "$$RUN" "$$IMAGE"

show: setup ## the experiments so far, one row each (dvc exp show)
	@COLUMNS=190 python -m dvc exp show --no-pager --hide-failed --hide-queued --hide-workspace --drop '.*' --keep '^($(SHOWN))$$' --sort-by trainable_parameters

record: setup ## run studies/$(STUDY).yaml, keep its results in docs/$(INTO), and restore the study of params.yaml
	@test -f "studies/$(STUDY).yaml" || { echo "STUDY must name a file in studies/. Got '$(STUDY)' instead."; exit 1; }
	@git diff --quiet HEAD -- params.yaml || { echo "params.yaml must be committed, because this borrows its place."; exit 1; }
	@trap 'git checkout --quiet -- params.yaml' EXIT; $(CHOOSE) >/dev/null && python -m tools.check params.yaml \
	  && python -m dvc repro && python -m tools.record '$(STUDY)' 'docs/$(INTO)'
	@python -m dvc repro

readme: setup ## render README and the pages of docs from docs/templates and what studies found
	@python -m docs.architectures.build
	@python -m docs.architectures.families
	@python -m docs.build

benchmark: setup ## measure speed and memory against the script one would write without this project; OPTIONS="--images 128"
	@python -m benchmarks.freezing --memory $(OPTIONS)

architectures: setup ## measure how fast each backbone is here, and make the tables of architectures and families; OPTIONS="--images 32 --repeats 3"
	@python -m docs.architectures.measure $(OPTIONS)
	@python -m docs.architectures.build
	@python -m docs.architectures.families

test: setup ## run the tests
	@python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: setup ## run what `make test` leaves out: large models at full size, 200 simulated studies
	@python -m pytest -m slow
	@OMP_NUM_THREADS=1 python -m docs.statistics.measure

trials: setup ## kill studies, change bytes, mutate params, folders and weights, by the hundred; an hour at most
	@python -m pytest tests/trials tests/stages/test_damage.py -m "trial or not slow"

lint: setup ## check format, style and types
	@python -m ruff format --check .
	@python -m ruff check .
	@python -m mypy

lock: setup ## resolve pyproject.toml into requirements.lock
	@python -m uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --constraints constraints.txt --output-file requirements.lock

clean: ## delete .venv; results stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
