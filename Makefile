# Every target sets up what it needs; the stamps make a repeated call instant.
# PYTHON: the interpreter for the environment (3.11 or newer). ARGS: more arguments for pytest.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
VENV ?= .venv
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt
STAMP = $(VENV)/.installed

.PHONY: install demo test check clean

install: $(STAMP)

$(VENV)/.created:
	@test -n "$(PYTHON)" \
		|| { echo "no Python found: install Python 3.11 or newer, or run make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11: run make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(STAMP): $(VENV)/.created pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable .
	@touch $@

$(STAMP)-test: $(STAMP)
	$(PIP_INSTALL) --editable '.[test]'
	@touch $@

$(STAMP)-check: $(STAMP)-test
	$(PIP_INSTALL) --editable '.[check]'
	@touch $@

demo: $(STAMP)
	$(BIN)/diffpc generate --reference examples/astronaut.jpg --pose 25 0 0 --expression smile \
		--prompt "a portrait photo, a blue background" --seed 1 --output demo/portrait.png --stages demo/stages

test: $(STAMP)-test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP)-check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/test_architecture.py

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
