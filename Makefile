# 'make demo' and 'make test' do all the set-up that they need.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
WORKERS ?= 2
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat

.PHONY: demo test test-long check lint type layers hosts bench bench-quick clean

demo: .venv/.ready
	@$(BIN)/python -B contrib/demo/demo.py

test: .venv/.dev hosts
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup tests

# Every boundary, long races and long stories, with new seeds: an hour.
test-long: .venv/.dev hosts
	RECONCILER_LONG=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup tests

check: .venv/.dev lint type layers

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

bench: .venv/.ready
	$(BIN)/python -B contrib/bench/startup.py
	$(BIN)/python -B contrib/bench/longlog.py
	$(BIN)/python -B contrib/bench/trees.py
	$(BIN)/python -B contrib/bench/watch.py 20000
	$(BIN)/python -B contrib/bench/resources.py 100 500 2000 10000

# A few costs beside those that are kept in contrib/bench/expected.json, before something lands: two minutes.
bench-quick: .venv/.ready
	$(BIN)/python -B contrib/bench/quick.py

# The programs that boot a real test host; without root those tests say that they are skipped, and why.
hosts:
	@sh contrib/dev/host-tools

.venv/bin/python:
	@sh contrib/dev/make-venv "$(PYTHON)"

.venv/.ready: .venv/bin/python pyproject.toml setup.py reconciler/host/_walk.c
	$(INSTALL) -e .
	$(BIN)/python -m compileall -q reconciler
	@touch $@

.venv/.dev: .venv/.ready
	$(INSTALL) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info reconciler/host/_walk*.so
