# Everything a person runs. Each target sets up what it needs; a second run needs no network.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PYTHONSAFEPATH := 1

PYTHON ?= python3
BIN := .venv/bin
BUYERS ?= 1000
UNITS ?= 5
SEEDS ?= 10
SALES ?= 1000
FIRST ?= 1
# Tests run in groups, so many at once, each on servers of its own; the longest first, so that none is left alone at the end.
AT_ONCE ?= 4
GROUPS = \
	"tests/integration/payment" \
	"tests/operator_api" \
	"tests/chaos --ignore=tests/chaos/test_payment_rows.py --ignore=tests/chaos/test_paused_rows.py -m 'not variant'" \
	"tests/chaos/test_payment_rows.py tests/chaos/test_paused_rows.py -m 'not variant'" \
	"tests/integration $(foreach part,$(APART),--ignore=tests/integration/$(part))" \
	"tests/integration/cdc tests/integration/search tests/integration/product" \
	"tests/mutation" \
	"tests/integration/checkout" \
	"tests/e2e" \
	"tests/surface" \
	"tests/charts" \
	"tests/integration/inventory tests/integration/machine" \
	"tests/contract"
APART := payment product search cdc checkout inventory machine

.PHONY: help venv servers charts chart-tools demo test lint unit explore integration e2e mutation bench-sale bench-strategies bench-product bench-search bench-freshness chaos chaos-rows mutate-crs crash-every-write lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

venv: .venv/.installed ## the Python environment, from the hashed lock

.venv/.installed: requirements.lock pyproject.toml
	@tools/bootstrap.sh "$(PYTHON)"
	@touch $@

servers: venv ## install or build the real servers that are missing (cached)
	@$(BIN)/devstack install

demo: servers ## a real flash sale: BUYERS=1000 buyers, UNITS=5 units, and a verdict
	@$(BIN)/buyers demo --buyers $(BUYERS) --units $(UNITS)

test: lint servers chart-tools ## everything that must be green
	@tools/pytest_groups.sh $(AT_ONCE) "tests/unit" $(GROUPS)

lint: venv ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

unit: venv ## fast tests without any server
	@$(BIN)/pytest -q tests/unit

explore: venv ## search the models of the protocol, the larger worlds too (minutes)
	@PYTHONPATH=tools $(BIN)/python -m explorer --deep

integration: servers chart-tools ## tests on the real servers and the real API server, sales, kills at every step, broken builds
	@tools/pytest_groups.sh $(AT_ONCE) $(GROUPS)

e2e: servers ## the small end-to-end sale alone
	@$(BIN)/pytest -q tests/e2e

mutation: servers ## builds without a guard, each caught by the checker
	@$(BIN)/pytest -q tests/mutation

chaos: servers ## SEEDS=10 sales while processes, stores and the broker are killed; SEED=7 replays one
	@$(BIN)/python -m chaos --seeds $(SEEDS) --first $(FIRST) $(if $(SEED),--seed $(SEED))

chaos-rows: servers ## every row of the crash table on the real stack (tests/chaos)
	@$(BIN)/pytest -q tests/chaos

.PHONY: bench-operator
bench-operator: servers ## the operator's bars at SALES=1000 sales and as many pools, on a real API server
	@PYTHONPATH=tests/bench $(BIN)/python tests/bench/operator_bars.py --sales $(SALES)

bench-sale: servers ## 1,000 buyers for 5 units: the figures of the README
	@$(BIN)/python tests/bench/sale.py

bench-strategies: servers ## Escrow, Direct and Lock beside each other, and the lock of the textbook
	@PYTHONPATH=tests/bench $(BIN)/python tests/bench/strategies.py

bench-product: servers ## details under 50 readers, whole words among 100,000 products, search without Elasticsearch
	@$(BIN)/python tests/bench/product.py

bench-search: servers ## 50 users search among 100,000 products
	@$(BIN)/python tests/bench/search.py

bench-freshness: servers ## what a stock change takes to reach the search page
	@$(BIN)/python tests/bench/freshness.py

crash-every-write: servers ## a real operator killed after each of its writes, in both variants, against an undisturbed run
	@$(BIN)/python -m crash

mutate-crs: servers ## every property of both schemas changed on a running platform: the system follows, or says why not
	@$(BIN)/python -m mutate

charts: venv ## make the charts from the services' settings, whole ones in var/charts
	@PYTHONPATH=tools:services:operator $(BIN)/python -m charts --assemble var/charts

chart-tools: venv ## Helm 4 and 3, built once with Go into the cache
	@$(BIN)/python -m charts.toolbox

lock: venv ## pin again what pyproject.toml asks for
	@tools/lock.sh

clean: ## stop everything and forget all state
	@-[ -x $(BIN)/devstack ] && $(BIN)/devstack down --forget
	@rm -rf var .venv
