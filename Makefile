# Everything a fresh machine needs: Python 3.11+, make and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo up secrets test fuzz test-browser test-compose base-images chaos check audit format bench bench-peers bench-others bench-containers lock clean

help: ## tell what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## start everything here and answer the sample that ships
	$(BIN)/answermill demo

up: $(INSTALLED) ## run the embedded stack until Ctrl-C
	$(BIN)/answermill up

secrets: ## make every password that docker-compose.yml wants, once, in ./secrets
	sh deploy/secrets

test: $(INSTALLED) ## run every test but those of the page in a browser and of the containers
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope tests/unit tests/integration tests/property
	$(BIN)/python -m pytest tests/acceptance tests/chaos

test-browser: $(INSTALLED) ## try the page in Chromium; needs Debian's chromium
	$(BIN)/python -m pytest tests/browser

test-compose: $(INSTALLED) ## run the whole of it in containers; needs Docker and Compose
	$(BIN)/python -m pytest tests/compose

base-images: ## tell which images ours are made from
	@sed -n 's/^ARG PYTHON=//p' deploy/Dockerfile
	@sed -n 's/^    image: \([a-z]*:.*\)/\1/p' docker-compose.yml | sort -u

chaos: SECONDS := 60
chaos: SEED := 1
chaos: DB := sqlite
chaos: $(INSTALLED) ## hurt everything for SECONDS (60) by SEED on DB (sqlite or postgres), then account for every question
	@$(BIN)/python -m tests.chaos.run --seconds $(SECONDS) --seed $(SEED) --db $(DB)

fuzz: SECONDS := 60
fuzz: $(INSTALLED) ## steer bytes through every reader for SECONDS (60) each; on Linux
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in csv tsv jsonl pipe requests knowledge labelled manifest message; do \
	  $(BIN)/python -m tests.fuzz.files $$target -max_total_time=$(SECONDS) || exit 1; done

check: $(INSTALLED) ## lint, types, import contracts, licences, packages that fit together
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check
	$(BIN)/pip-licenses --summary --packages $$(sed -n 's/==.*//p' constraints.txt)

.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1
	touch $@

audit: .venv-audit/.installed ## look for known vulnerabilities in what is pinned; needs pypi.org
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## run every benchmark; each ends in one JSON line
	for file in $(filter-out benchmarks/peers.py benchmarks/others.py benchmarks/containers.py,$(wildcard benchmarks/[a-z]*.py)); do \
	  $(BIN)/python $$file || exit 1; done

.venv-%/.installed: benchmarks/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --requirement $<
	touch $@

bench-peers: $(INSTALLED) .venv-peers/.installed .venv-peers-arq/.installed ## compare with other queues, each in its environment
	$(BIN)/python benchmarks/peers.py

bench-others: QUESTIONS := stack/sample/labelled.csv
bench-others: KNOWLEDGE := stack/sample/knowledge.jsonl
bench-others: LAYERS := 3
bench-others: $(INSTALLED) .venv-infinity/.installed ## compare with other ways to run the same encoder, on QUESTIONS of KNOWLEDGE; LAYERS
	$(BIN)/python benchmarks/others.py --questions $(QUESTIONS) --knowledge $(KNOWLEDGE) --layers $(LAYERS)

bench-containers: $(INSTALLED) ## compare workers in containers with bare ones; needs Docker and Compose
	$(BIN)/python benchmarks/containers.py

lock: ## pin anew what is installed here, for reviewing the difference
	{ echo '# Every dependency of every extra, as tested. Made by `make lock`.'; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
