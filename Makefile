# `make` lists the targets. Each works from a fresh clone: it sets up what it needs first, once.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Which Python builds the virtual environment: make setup PYTHON=python3.12
PYTHON ?= python3
UV_VERSION := 0.13.9

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# Newer than the lock file means: the environment holds what the lock file says.
READY := $(VENV)/.ready

##@ Start
.PHONY: help setup run demo

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## Build the virtual environment from uv.lock (a minute, once)

run: $(READY) ## Run the whole service on this machine, on a real Kafka, until Ctrl-C
	@trap '' INT; exec $(PY) -m deploy.local.run  # Ctrl-C is heard as soon as it can be answered

demo: $(READY) ## Run the sample day in one process, without any server (10 s)
	@$(PY) -m deploy.local.demo

##@ Check
.PHONY: test check format bench bench-check crunch sim chaos

test: $(READY) ## Every check and every test; what the build server runs
	@$(PY) -m deploy.local.check

check: $(READY) ## The same without the tests that need a server
	@$(PY) -m deploy.local.check --fast

format: $(READY) ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure it beside its peers, 40 min [MEASURES=a,d ROUNDS= SCALE= PROGRAMS=]
	@$(PY) -m tests.bench $(if $(MEASURES),--measures '$(MEASURES)') $(if $(ROUNDS),--rounds '$(ROUNDS)') \
		$(if $(SCALE),--scale '$(SCALE)') $(if $(PROGRAMS),--programs '$(PROGRAMS)')

bench-check: $(READY) ## Test the programs it is measured beside: they do the same work
	@$(PY) -m deploy.local.check --bench

crunch: $(READY) ## Twenty times the usual rate for a minute, and the way back [MINUTES=5 RATE=30]
	@$(PY) -m tests.crunch $(if $(MINUTES),--minutes '$(MINUTES)') $(if $(RATE),--rate '$(RATE)')

sim: $(READY) ## Simulate faults, until Ctrl-C; SEED=7 repeats one [SEEDS= CONTROL= TRACE=file]
	@$(PY) -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(CONTROL),--control $(CONTROL)) $(if $(TRACE),--trace $(TRACE))

chaos: $(READY) ## Kill, pause, poison it; nothing lost or doubled? [MINUTES=3 SEED= RATE= CONTROL=]
	@$(PY) -m tests.chaos $(if $(MINUTES),--minutes '$(MINUTES)') $(if $(SEED),--seed '$(SEED)') \
		$(if $(RATE),--rate '$(RATE)') $(if $(CONTROL),--control '$(CONTROL)')

##@ Data
.PHONY: schemas sample topics clean

schemas: $(READY) ## Write the Avro schemas anew from the records they describe
	$(PY) schemas/generate.py

sample: $(READY) ## Write the sample trading day anew: the same seed, the same files
	$(PY) -m deploy.sample_day.generate

topics: $(READY) ## Create or alter the topics of the cluster in KAFKA_BOOTSTRAP_SERVERS
	$(PY) -m services topics apply

clean: ## Forget the data of `make run`; the environment and the jars stay
	rm -rf .local/run

$(READY): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: $(PYTHON) was not found; install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer is needed and $(PYTHON) is $$($(PYTHON) --version 2>&1); name a newer one: make setup PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
		echo "error: the virtual environment was not made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --locked
	@touch $@
