# `make` alone says what there is.

PYTHON3 := $(shell command -v python3 2>/dev/null || command -v python 2>/dev/null)
PORT ?= 8443
HTTP_PORT ?= 8080
ARGS ?=
JOBS ?= 4
SECONDS ?= 60
REQUESTS ?= 10000000
BIN := .venv/bin
DIFFERENTIAL := tests/fuzz/test_http1_requests.py tests/fuzz/test_http1_responses.py tests/fuzz/test_http2.py \
  tests/fuzz/test_hello.py tests/fuzz/test_dns.py tests/fuzz/test_corpus.py tests/integration/test_origins_understand.py

.DEFAULT_GOAL := help
.PHONY: help run test lint types unit install dev packages format bench bench-long bench-quick soak fuzz fuzz-diff fuzz-coverage docs lock clean

help: ## this list
	@echo "make:"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
	  while IFS='|' read -r name text; do printf '  %-13s %s\n' "$$name" "$$text"; done

run: install ## the whole edge on localhost, with a sample origin (PORT=8443, HTTP_PORT=8080)
	@exec $(BIN)/edgeproxy demo --dir .run/demo --port $(PORT) --http-port $(HTTP_PORT) $(ARGS)

test: dev packages lint unit ## linters, types and all the tests (ARGS="-k name" picks some)

install: python ## only .venv, with what running needs
	@$(PYTHON3) scripts/environment.py run

dev: python
	@$(PYTHON3) scripts/environment.py dev

.PHONY: python
python:
	@test -n "$(PYTHON3)" || { echo "Python 3.11 or newer is needed. On Debian 12 or later: apt-get install python3 python3-venv" >&2; exit 1; }

packages: dev
	@$(BIN)/python scripts/packages.py

lint: dev ## ruff, mypy, and the contracts between the parts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { echo "Some files are not formatted; make format does it." >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Hundreds of processes are started: where none may keep what it compiled, each compiles the whole program anew.
unit: export PYTHONDONTWRITEBYTECODE =
unit: dev packages
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

format: dev ## ruff's formatter and its safe cures
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: dev ## beside nginx, HAProxy and Caddy; writes bench/RESULTS.md and README's figures (10 minutes)
	@status=0; $(BIN)/python -m bench $(ARGS) || status=$$?; $(BIN)/python scripts/figures.py; exit $$status

bench-long: dev ## what takes minutes by its nature, into the same report: strangers, domains that wait, slow clients, and more (20 minutes)
	@status=0; $(BIN)/python -m bench --long $(ARGS) || status=$$?; $(BIN)/python scripts/figures.py; exit $$status

bench-quick: dev ## only what has a target, in 90 seconds; writes nothing
	@$(BIN)/python -m bench --quick --no-write $(ARGS)

soak: dev ## one worker under all kinds of load: whether anything grows or stands still (REQUESTS=10000000, 12 minutes)
	@status=0; BENCH_SOAK_REQUESTS=$(REQUESTS) $(BIN)/python -m bench --only soak $(ARGS) || status=$$?; $(BIN)/python scripts/figures.py; exit $$status

fuzz: dev ## the property tests, and schemathesis against the API, with many more cases
	@$(BIN)/python -m pytest tests/fuzz tests/conformance tests/test_gcra.py tests/link/test_arrivals.py \
	  tests/integration/test_schemathesis.py --hypothesis-profile=fuzz $(ARGS)

fuzz-diff: dev packages ## the same hostile bytes to our parsers and to others', with many more cases (ARGS="-k requests" picks some)
	@$(BIN)/python -m pytest $(DIFFERENTIAL) --hypothesis-profile=fuzz --hypothesis-show-statistics $(ARGS)

fuzz-coverage: dev ## the parsers under atheris, which looks at what each input reaches (SECONDS=60 for each)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-fuzz.lock
	@$(BIN)/python -m tests.fuzz.coverage $(SECONDS)

docs: config/edgeproxy.toml docs/commands.md ## what is generated: the configuration's sample, the commands' page, README's figures
	@$(BIN)/python scripts/figures.py

config/edgeproxy.toml: $(wildcard edgeproxy/config/*.py) edgeproxy/limits.py | dev
	@$(BIN)/python -m edgeproxy.config.document $@

docs/commands.md: $(wildcard edgeproxy/cli/*.py edgeproxy/cli/*/*.py) scripts/commands.py | dev
	@$(BIN)/python scripts/commands.py > $@

lock: ## the locked requirements anew, with uv
	uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --group dev --constraint requirements.lock --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" --quiet --output-file requirements-dev.lock
	uv pip compile requirements-fuzz.in --universal --generate-hashes --python-version 3.11 --no-annotate \
	  --custom-compile-command "make lock" --quiet --output-file requirements-fuzz.lock

clean: ## what was made, but for .run
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .import_linter_cache build dist
