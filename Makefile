# `make help` lists what there is. Every target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# dvc and the stages it starts are those of .venv, whatever else is on the PATH. Tools are called as modules: their scripts
# name the place where .venv was made, and would be another folder's in a checkout that was copied or moved.
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONUNBUFFERED := 1

# `make record` keeps what a study found in docs/$(INTO).
INTO ?= $(STUDY)
CHOSEN = $(if $(STUDY), --study '$(STUDY)')$(if $(FOLDER), --folder '$(FOLDER)')
# What the command says when it fails is all that there is to say.
FROSTLINE = @python -m frostline.commands

.PHONY: help setup check study plans look show predict record readme benchmark check-gpu architectures test test-long test-slow trials lint lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BIN)/ready .dvc/plots/page.html ## install what requirements.lock pins, into .venv

$(BIN)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python must be 3.11 or newer. Got %d.%d instead. Use make PYTHON=<path>." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.dvc/plots/page.html: frostline/laying/plots_page.py $(BIN)/ready
	@$(BIN)/python -m frostline.laying.plots_page --out $@

study: setup ## run the study of params.yaml, as far as it is stale, and show its comparison; STUDY=beans: a ready one
	$(FROSTLINE) study$(CHOSEN)

check: setup ## look at the images before anything is trained: counts, duplicates, a contact sheet, minutes
	$(FROSTLINE) check$(CHOSEN)

plans: setup ## what each plan of params.yaml lets learn, part by part
	$(FROSTLINE) plans$(CHOSEN)

look: setup ## see inside RUN (a folder of data/runs) what it makes of IMAGE (a file): filters, maps, Grad-CAM
	$(FROSTLINE) look "$$RUN" "$$IMAGE"

show: setup ## the experiments so far, one row each (dvc exp show)
	$(FROSTLINE) show

predict: setup ## name the class of IMAGES (a folder, a file or a list) with the model of the study, into OUT=predictions.csv
	$(FROSTLINE) predict "$$IMAGES"$(if $(OUT), --out "$$OUT")

record: setup ## run studies/$(STUDY).yaml, keep its results in docs/$(INTO), and restore the study of params.yaml
	@test -f "studies/$(STUDY).yaml" || { echo "STUDY must name a file in studies/. Got '$(STUDY)' instead."; exit 1; }
	@git diff --quiet HEAD -- params.yaml || { echo "params.yaml must be committed, because this borrows its place."; exit 1; }
	@trap 'git checkout --quiet -- params.yaml' EXIT; python -m frostline.commands study$(CHOSEN) && python -m tools.record '$(STUDY)' 'docs/$(INTO)'
	@python -m dvc repro

readme: setup ## render README and the pages of docs from docs/templates and what studies found
	@python -m docs.architectures.build
	@python -m docs.architectures.families
	@python -m docs.cluster.growth
	@python -m docs.build

benchmark: setup ## measure speed and memory against the script one would write without this project; OPTIONS="--images 128"
	@python -m benchmarks.freezing --memory $(OPTIONS)

check-gpu: setup ## try on this machine's GPU what no processor can show: a claim a line, ten minutes
	@python -m tools.check_gpu $(OPTIONS)

architectures: setup ## measure how fast each backbone is here, and make the tables of architectures and families; OPTIONS="--images 32 --repeats 3"
	@python -m docs.architectures.measure $(OPTIONS)
	@python -m docs.architectures.build
	@python -m docs.architectures.families

test: setup ## run the tests
	@python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: setup ## run what `make test` leaves out as each takes ten seconds and more: some 30 minutes
	@python -m pytest -m long --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

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
	@python -m uv pip compile --quiet pyproject.toml --extra dev --extra ray --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --constraints constraints.txt --output-file requirements.lock

clean: ## delete .venv; results stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
