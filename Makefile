# vigil: `make demo` shows it, `make test` proves it. Everything runs from .venv, made on first use.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 30
export PYTHON

.PHONY: help setup demo check test test-device fuzz soak format clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

setup: ## Prepare .venv with vigil in it
	@scripts/set_up.sh setup

demo: setup ## Learn, watch and report a small rendered scene, with a real broker; under 5 minutes
	@$(BIN)/vigil demo --out demo-out

check: setup ## Ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: setup ## 40 minutes: memory, threads, losses; prints figures as JSON. `MINUTES=3 make soak` for less
	@VIGIL_KILLS=200 VIGIL_HANG_S=300 $(BIN)/python -m pytest -q -s tests/edge/test_daemon_killed.py \
	  tests/edge/test_mqtt.py -k "killed_again or hangs_and"
	@PYTHONPATH=tests $(BIN)/python -m support.soak --minutes $(MINUTES)

test: ## Everything: set-up, check and all tests
	@scripts/set_up.sh test
	@PYTHONPATH=.:tests $(BIN)/python -m support.ground.prepare >/dev/null 2>&1 </dev/null &
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest

test-device: ## Boots devices and machines, flashes them: power and network cuts, full disks, clocks
	@scripts/set_up.sh test-device
	VIGIL_DEVICE_TESTS=all $(BIN)/python -m pytest -v tests/device

fuzz: setup ## A million spoiled bundles, or ten minutes of them: nothing but clear errors may come out
	PYTHONPATH=.:tests $(BIN)/python -m support.bundle_fuzzer --cases 1000000 --seconds 600

format: setup ## Lay out the code and mend what can be mended automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was made, .venv included
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo-out build dist
