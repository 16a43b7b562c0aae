# Everything a newcomer needs, as root or not: `make run` shows what ELSA does on this host, `make
# test` proves that it is right. Both set themselves up in .venv and build/; PYTHON names another
# interpreter (3.11 or newer).

PYTHON ?= python3
BIN := .venv/bin
# The programs that tests compare with are unpacked here, never installed: installing acct would
# switch accounting on.
export ELSA_PEERS ?= $(CURDIR)/build/peers
export ELSA_BROWSER ?= $(CURDIR)/build/browser
export ELSA_POSTGRES ?= $(CURDIR)/build/postgres
export ELSA_SPARK ?= $(CURDIR)/build/spark
# Tests start thousands of programs, each of which would compile ELSA again.
export PYTHONDONTWRITEBYTECODE :=
# SQLite gives back thousands of small pieces after each statement; glibc joins what it kept of such
# "fast" pieces again and again, for a tenth of the time of tests that make reports.
export GLIBC_TUNABLES ?= glibc.malloc.mxfast=0

.DEFAULT_GOAL := help
.PHONY: help run test lint peers sql bench soak fuzz man deb srpm vm-test webmin release clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/.run ## account a real job on this host and show its cost (as root); changes nothing
	@$(BIN)/python scripts/demo.py

# Fetching waits for the network, meanwhile lint needs one CPU.
test: .venv/.dev ## lint, then every test; kernel tests need root (ELSA_REQUIRE_KERNEL=1: or fail)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint peers
	$(BIN)/pytest -q -n auto

# What tests compare with; without it they skip. One after another: apt-get update is alone.
peers: .venv/.dev
	@scripts/peers.sh "$(ELSA_PEERS)"
	@scripts/browser.sh "$(ELSA_BROWSER)"
	@scripts/postgres.sh "$(ELSA_POSTGRES)"
	@scripts/spark.sh "$(ELSA_SPARK)" $(BIN)/python

lint: .venv/.dev ## style, types and the layers of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/sql.py --check
	$(BIN)/python scripts/schema.py --check

# After a change of elsa/measures.py or elsa/store/schema.py.
sql: .venv/.dev ## write the generated parts of sql/ and docs/, and the first migration
	$(BIN)/python scripts/sql.py
	$(BIN)/python scripts/schema.py

BENCHMARKS = $(filter-out %/soak.py %/outages.py %/measure.py %/cost_report.py,\
	$(sort $(wildcard benchmarks/*.py)))

bench: .venv/.dev ## measure what speed matters for, one table per file in benchmarks/
	@scripts/peers.sh "$(ELSA_PEERS)"
	@for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

soak: .venv/.dev ## storms, restarts, kills, reports for MINUTES=n (1), then sums must agree (root)
	@$(BIN)/python benchmarks/soak.py $(MINUTES)

fuzz: .venv/.dev ## INPUTS=n inputs (1000000) from SEED=n for all parsers, or for TARGET=name
	@$(BIN)/python -W error -m tests.fuzz $(or $(INPUTS),1000000) $(or $(SEED),1) "$(TARGET)"

man: .venv/.run ## man pages of every command, in build/man (a wheel has them in share/man)
	@$(BIN)/python scripts/man.py build/man

deb: .venv/.dev ## the Debian package, for Debian 12 and 13: build/elsa_VERSION_all.deb
	@$(BIN)/python scripts/deb.py

srpm: .venv/.dev ## the source RPM, for Fedora and RHEL 9 and 10: build/elsa-VERSION-1.src.rpm
	@$(BIN)/python scripts/srpm.py

vm-test: .venv/.dev ## the package in a virtual machine: RELEASE=bookworm or trixie; slow
	@$(BIN)/python tests/vm/package_life.py

webmin: .venv/.run ## the module for Webmin 2: build/elsa.wbm.gz
	@$(BIN)/python scripts/webmin.py

release: .venv/.dev ## all that is released, built twice and compared: dist/VERSION
	@$(BIN)/python scripts/release.py

clean: ## remove .venv, build/ and every cache
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed follows pyproject.toml. The package itself is installed editable, so that a
# change of the code needs nothing.
.venv/.run: pyproject.toml scripts/setup.sh
	@scripts/setup.sh "$(PYTHON)" .
	@touch $@

.venv/.dev: pyproject.toml scripts/setup.sh
	@scripts/setup.sh "$(PYTHON)" '.[dev]'
	@touch .venv/.run $@
