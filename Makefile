# Paddock. Needs Python 3.11 to 3.13, a C++ compiler and make; `make` alone lists what there is.
# Each target first brings .venv up to date with constraints.txt (.ci/install says how). What is
# given to make reaches it without an `export`, which would turn what is not given into empty words.

MAKEFLAGS += --no-print-directory
BIN := .venv/bin
FLOORS := app engine runbooks storage

.PHONY: help
help:
	@echo 'make demo    a node with the shipped models, a labelled synthetic load, and the screen'
	@echo 'make test    all tests                               (ARGS="-k router" for some)'
	@echo 'make check   style, import contracts, types'
	@echo 'make bench   throughput and latency beside llama-server and the Python example server'
	@echo 'make soak    the longer drills'
	@echo 'make lock    resolve the dependencies of pyproject.toml into constraints.txt'
	@echo 'make clean   remove what these made, .venv included'
	@echo
	@echo 'PYTHON=python3.12 chooses the Python, CMAKE_ARGS=-DGGML_CUDA=on builds for a GPU.'

.PHONY: venv
venv:
	@.ci/install

.PHONY: demo
demo: venv
	@$(BIN)/paddock demo $(ARGS)

.PHONY: test
test: venv
	@$(BIN)/pytest $(ARGS)

# Cheap first: most mistakes show within a second.
.PHONY: check
check: venv
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet .; false; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/python -W error -m compileall -q $(FLOORS) tests tools
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy $(FLOORS) tests tools

.PHONY: bench
bench: venv
	@$(BIN)/python -m tests.bench.serve $(ARGS)

.PHONY: soak
soak: venv
	@PADDOCK_BUILD_PEERS=1 $(BIN)/pytest -n0 -m 'soak or peers' $(ARGS)

.PHONY: lock
lock: venv
	@$(BIN)/python -m venv build/lock
	@build/lock/bin/pip install --quiet uv
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra dev --extra build --extra parquet \
		--output-file constraints.txt pyproject.toml

.PHONY: clean
clean:
	rm -rf .venv build dist bench-out .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage snapshot_report.html
	find $(FLOORS) tests -name __pycache__ -type d -exec rm -rf {} +
