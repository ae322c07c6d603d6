# make demo: the main job before your eyes.  make test: everything is checked.  make test-all: on every Python found.
# make unit: the tests that are not slow by construction.  make unit-all: all tests.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# command:Debian package that has it, for the tests that run real programs
PROGRAMS = ssh:openssh-client sshd:openssh-server ss:iproute2 git:git unshare:util-linux mount:mount vi:vim-tiny \
	nginx:nginx redis-server:redis-server pg_createcluster:postgresql node:nodejs socat:socat ncat:ncat \
	nc.openbsd:netcat-openbsd nc.traditional:netcat-traditional go:golang-go javac:default-jdk-headless \
	setpriv:util-linux pkill:procps sudo:sudo ping:iputils-ping lsof:lsof prlimit:util-linux systemd-socket-activate:systemd \
	systemd-analyze:systemd

.PHONY: demo test test-all lint unit unit-all docs bench programs clean
.DELETE_ON_ERROR:

demo: $(BIN)/python
	@$(BIN)/python -m pip install --quiet .
	@ANYPORT=$(BIN)/anyport PYTHON=$(BIN)/python sh docs/demo.sh

test: programs lint unit-all

lint: $(BIN)/.tools
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# The wheel is tested, not the checkout.
unit: SELECTED = -m "not slow"
unit unit-all: $(BIN)/.tools
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps .
	$(BIN)/python -m pytest -n auto $(SELECTED) $(TESTS)

test-all: programs lint
	@for python in $$(sh tests/interpreters.sh); do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "== Python $$version"; \
		$(MAKE) --no-print-directory unit-all PYTHON=$$python VENV=.venv-$$version || exit 1; \
	done

docs: $(BIN)/.tools
	$(BIN)/python docs/generate.py

bench: $(BIN)/python
	$(BIN)/python bench/run.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: anyport needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh tests/packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(BIN)/.tools: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --group lint --group test .
	@touch $@

programs:
	@sh tests/packages.sh $(PROGRAMS)

clean:
	rm -rf .venv .venv-* bench/.venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
