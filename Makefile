PYTHON ?= python3
BIN := .venv/bin
# Test processes; each starts a PostgreSQL of its own. One more than two cores, because tests of processes mostly wait.
WORKERS ?= 3
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes

# Tests and the shop start processes by the hundred: each would compile all of the code again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo serve test proof check bench lock clean

# Installing happens once per change of the requirements; the stamp files remember it.
setup: .venv/run.stamp

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.11 ...)"; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/run.stamp: requirements/run.txt pyproject.toml | .venv/bin/python
	@echo "installing into .venv ..."
	@$(PIP) -r requirements/run.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/run.stamp
	@echo "installing what the tests need ..."
	@$(PIP) -r requirements/dev.txt
	@touch $@

demo: setup
	@$(BIN)/doorbuster demo $(ARGS)

serve: setup
	@$(BIN)/doorbuster serve $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(ARGS)

# The long runs of what `make test` runs shortly: hours. RUNS, ORDERS and EXAMPLES are their lengths.
RUNS ?= 100000
ORDERS ?= 1000
EXAMPLES ?= 50
proof: .venv/dev.stamp
	PAYMENTS_RUNS=$(RUNS) PAYMENTS_ORDERS=$(ORDERS) $(BIN)/python -m pytest -s --timeout 0 -n 0 $(ARGS) tests/contexts/payments/test_state_machine.py tests/contexts/payments/test_misbehaviour.py
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -s --timeout 0 -n 0 $(ARGS) tests/journeys/test_api_fuzz.py

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

bench: setup
	@$(BIN)/doorbuster bench $(ARGS)

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml requirements/build.in -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements/run.txt pyproject.toml requirements/build.in --group dev -o requirements/dev.txt

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
