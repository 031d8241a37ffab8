# Requires Python 3.11+, make and access to the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo up secrets test test-fast fuzz test-browser test-compose base-images chaos check audit format bench bench-peers bench-others bench-containers lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## start everything locally and answer the shipped sample
	$(BIN)/answermill demo

up: $(INSTALLED) ## run the embedded stack until Ctrl-C
	$(BIN)/answermill up

secrets: ## create every missing password of docker-compose.yml in ./secrets
	sh deploy/secrets

test: $(INSTALLED) ## run every test, except browser and container tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope tests/unit tests/integration tests/property
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope tests/acceptance tests/chaos

test-fast: $(INSTALLED) ## run the unit tests that need no service and build no model, in under a minute
	$(BIN)/python -m pytest --quiet -m 'not costly and not slow' tests/unit

test-browser: $(INSTALLED) ## test the page in Chromium; needs Debian's chromium
	$(BIN)/python -m pytest tests/browser

test-compose: $(INSTALLED) ## test the full stack in containers; needs Docker and Compose
	$(BIN)/python -m pytest tests/compose

base-images: ## list the base images of the project's images
	@sed -n 's/^ARG PYTHON=//p' deploy/Dockerfile
	@sed -n 's/^    image: \([a-z]*:.*\)/\1/p' docker-compose.yml | sort -u

chaos: SECONDS := 60
chaos: SEED := 1
chaos: DB := sqlite
chaos: $(INSTALLED) ## inject faults for SECONDS (60) by SEED (1) on DB (sqlite or postgres), then account for every question
	@$(BIN)/python -m tests.chaos.run --seconds $(SECONDS) --seed $(SEED) --db $(DB)

fuzz: SECONDS := 60
fuzz: $(INSTALLED) ## fuzz every reader for SECONDS (60) each; Linux only
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in csv tsv jsonl pipe requests knowledge labelled manifest message; do \
	  $(BIN)/python -m tests.fuzz.files $$target -max_total_time=$(SECONDS) || exit 1; done

check: $(INSTALLED) ## check lint, types, import contracts, licenses and compatible packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/plain_english.py
	$(BIN)/codespell
	$(BIN)/python -m pip check
	$(BIN)/pip-licenses --summary --packages $$(sed -n 's/==.*//p' constraints.txt)

.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1
	touch $@

audit: .venv-audit/.installed ## check the pinned packages for known vulnerabilities; needs pypi.org
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## run every benchmark that needs no extra environment; each ends with one JSON line
	for file in $(filter-out benchmarks/peers.py benchmarks/others.py benchmarks/containers.py,$(wildcard benchmarks/[a-z]*.py)); do \
	  $(BIN)/python $$file || exit 1; done

.venv-%/.installed: benchmarks/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --requirement $<
	touch $@

bench-peers: $(INSTALLED) .venv-peers/.installed .venv-peers-arq/.installed ## compare with other queues, in their own environments
	$(BIN)/python benchmarks/peers.py

bench-others: QUESTIONS := stack/sample/labelled.csv
bench-others: KNOWLEDGE := stack/sample/knowledge.jsonl
bench-others: LAYERS := 3
bench-others: $(INSTALLED) .venv-infinity/.installed ## compare with other ways to run the same encoder, with QUESTIONS, KNOWLEDGE and LAYERS (3)
	$(BIN)/python benchmarks/others.py --questions $(QUESTIONS) --knowledge $(KNOWLEDGE) --layers $(LAYERS)

bench-containers: $(INSTALLED) ## compare workers in containers with bare workers; needs Docker and Compose
	$(BIN)/python benchmarks/containers.py

lock: ## pin the installed packages in constraints.txt; review the difference
	{ echo '# Every dependency of every extra, as tested. Made by `make lock`.'; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
