# All that a machine needs is Python 3.13 and make. Everything else is pinned by hash in requirements/ and lands in this
# folder: .venv (the code and its tools), .venv-sam (SAM CLI), .local (state and caches), .aws-sam (the built package).

PYTHON ?= $(shell for python in python3 python3.13; do \
  $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && command -v $$python && break; done)
HOST ?= 127.0.0.1
PORT ?= 5000
EVENT ?= events/by-hand.json
ARGS ?=

# Caches and SAM's settings stay in this folder too, where `make clean` finds them, and nothing is reported to anyone.
# So each clone downloads its tools for itself: 0.4 GB for the demo, 1.4 GB for all tests and checks, which it shares with
# the environments by hard links. To share a cache between clones, set UV_CACHE_DIR yourself.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.local/pycache
unexport PYTHONDONTWRITEBYTECODE # or each of some thousand processes and imports compiles anew
export UV_CACHE_DIR ?= $(CURDIR)/.local/cache/uv
export PIP_CACHE_DIR ?= $(CURDIR)/.local/cache/pip
export SAM_CLI_TELEMETRY := 0
export __SAM_CLI_APP_DIR := $(CURDIR)/.venv-sam/settings
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export CKV_SKIP_PACKAGE_UPDATE_CHECK := true# or checkov notes in the home folder what the newest version is
export UV_SYSTEM_CERTS := 1# trust the certificates the machine trusts, as pip does

uv := .venv/bin/uv
# `sam build` takes python3.13 and its pip from the path.
sam := PATH="$(CURDIR)/.venv/bin:$$PATH" .venv-sam/bin/sam
compile = $(uv) pip compile --quiet --universal --python-version 3.13 --generate-hashes \
  --custom-compile-command "make lock" $(UPGRADE)

dev := .venv/.done
package := .aws-sam/.done
emulator := .local/lambda/.done
floor := 99
# One more than there are cores, for many tests wait for processes of their own.
workers := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
sources := $(shell find src -not -path '*/.*' -not -path '*__pycache__*')

.DELETE_ON_ERROR:
.PHONY: help demo demo-svg serve invoke build unit test examples foreign acceptance acceptance-clean faults check docs soak \
  load bench fleet fmt lock package release-check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(dev) ## the whole job on an embedded AWS, in half a minute
	@.venv/bin/python -m local.demo $(ARGS)

demo-svg: $(dev) ## record the demo as docs/demo.svg
	@.venv/bin/python docs/demo.py

serve: $(dev) ## keep the embedded AWS running, with the stack deployed (PORT=5000 HOST=127.0.0.1)
	@.venv/bin/python -m local.serve --host $(HOST) --port $(PORT) $(ARGS)

invoke: $(dev) build ## invoke the built package by hand, beside `make serve` (EVENT=events/by-hand.json)
	@.venv/bin/python -m local.invoke $(EVENT)

build: $(package) $(emulator) ## the package that is deployed, and what runs it here

unit: $(dev) ## what needs no build and no network, in seconds (ARGS=... for pytest)
	@.venv/bin/pytest --numprocesses auto tests/unit tests/template tests/documents $(ARGS)

# The floor holds for all of it: a part covers less.
test: $(dev) build ## all suites, with the coverage of src/ (ARGS=... for pytest, without it)
	@.venv/bin/pytest --numprocesses $(workers) --dist worksteal -m 'not lint' \
	  $(or $(ARGS),--cov --cov-report=term:skip-covered --cov-fail-under=$(floor))

examples: $(dev) .venv-cdk/.done ## synthesise the CDK app of examples/, with half a gigabyte of CDK
	@.venv/bin/pytest tests/functional/examples $(ARGS)

foreign: $(dev) build .venv-foreign/.done ## the stack on ministack, an emulator that others wrote (ARGS=... for pytest)
	@.venv/bin/pytest tests/foreign $(ARGS)

# What a person gives on the command line reaches the recipe through the environment: the shell must not read it as commands.
acceptance: $(dev) ## prove a deployed stack, on AWS itself (STACK=... PREFIX=acceptance/ REGION=... SLOW=1)
	@.venv/bin/python -m acceptance --stack "$$STACK" --prefix "$${PREFIX-acceptance/}" --region "$$REGION" \
	  $${SLOW:+--slow} $${THROTTLE:+--throttle} --replicate-to "$$REPLICATE_TO" --imitation "$$IMITATION" $(ARGS)

acceptance-clean: $(dev) ## remove what `make acceptance` has left there (STACK=... PREFIX=acceptance/ REGION=... RUN=...)
	@.venv/bin/python -m acceptance --clean --stack "$$STACK" --prefix "$${PREFIX-acceptance/}" --region "$$REGION" \
	  --run "$$RUN" $(ARGS)

faults: $(dev) build ## the fault-injection suite: every fault at every moment, crashes, mutants (ARGS="--only matrix")
	@.venv/bin/python -m tests.faults $(ARGS)

check: $(dev) .venv-sam/.done .venv-checkov/.done .venv-supply/.done docs ## lint, format, types, template, documents, advisories
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/cfn-lint --append-rules cfn_lint_serverless.rules --template template.yaml acceptance/role.yaml
	@.venv/bin/zizmor --offline --no-progress --quiet .github examples/github-actions/delete-images.yml
	@$(sam) validate --lint
	@.venv-checkov/bin/checkov --file template.yaml --framework cloudformation --skip-download --compact --quiet
	@.venv/bin/python -m tools.audit
	@.venv/bin/pytest --quiet tests/template tests/documents

docs: .venv-docs/.done ## build the documents as a site, in .local/site; a broken link fails it
	@mkdir -p .local
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build >.local/docs.log 2>&1 || { cat .local/docs.log >&2; exit 1; }

soak: $(dev) build ## 10,000 requests with duplicates, bad messages and faults, in five minutes (ARGS=--seed=2)
	@.venv/bin/python -m tests.faults.soak $(ARGS)

load: $(dev) build ## before an ECR that throttles, in a minute (ARGS=--all for other settings, in a quarter hour)
	@.venv/bin/python -m tests.faults.load $(ARGS)

bench: $(dev) build ## how fast it is, beside what else one would use, in a quarter of an hour (ARGS=--quick)
	@.venv/bin/python -m benchmarks $(ARGS)

fleet: $(dev) build ## a night of 10,000 repositories, in eleven minutes (ARGS="--repositories 1000", --quick, --help)
	@.venv/bin/python -m benchmarks.fleet $(ARGS)

fmt: $(dev) ## format the code, fix what ruff can fix
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

lock: .venv/.uv ## pin the dependencies of pyproject.toml (UPGRADE=--upgrade for the newest)
	@$(compile) pyproject.toml --output-file src/requirements.txt
	@$(compile) --group dev pyproject.toml --constraint src/requirements.txt --output-file requirements/dev.txt
	@for group in sam checkov cdk lambda docs supply foreign uv; do \
	  $(compile) --group pyproject.toml:$$group --output-file requirements/$$group.txt || exit; done

package: $(dev) build .venv-supply/.done ## what is published: for SAM, SAR and StackSets, with its bill of materials
	@.venv/bin/python -m tools.package

# $$TAG rather than $(TAG): a tag's name comes from outside, and the shell must not read it as commands.
release-check: $(dev) build ## rehearse a release, changing nothing (TAG=v1.2.3 for one that is to be made)
	@.venv/bin/python -m tools.release_check $${TAG:+--tag "$$TAG"}

clean: ## remove all that make has made
	@rm -rf .venv .venv-sam .venv-cdk .venv-checkov .venv-docs .venv-supply .venv-foreign .local .aws-sam .hypothesis \
	  .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.uv: requirements/uv.txt
	@test "$$($(PYTHON) -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)" = "3 13" || { \
	  echo "Python 3.13 is needed, and neither python3 nor python3.13 is one." \
	  "Install it, or name it: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@echo "Setting up .venv, once"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
	@touch $@

.venv/.done: .venv/.uv requirements/dev.txt
	@$(uv) pip sync --quiet --python .venv --require-hashes requirements/dev.txt
	@touch $@

# The date in SAM's settings is that of its last look for a newer version: it never looks again.
.venv-sam/.done: .venv/.uv requirements/sam.txt
	@echo "Setting up SAM CLI, once"
	@$(uv) venv --quiet --allow-existing --python .venv .venv-sam
	@$(uv) pip sync --quiet --python .venv-sam --require-hashes requirements/sam.txt
	@mkdir -p .venv-sam/settings
	@echo '{"telemetryEnabled": false, "lastVersionCheck": 4102444800}' >.venv-sam/settings/metadata.json
	@touch $@

# The other tools: each has an environment of its own, for they pin what the others use.
.venv-%/.done: .venv/.uv requirements/%.txt
	@echo "Setting up the tools in .venv-$*, once"
	@$(uv) venv --quiet --allow-existing --python .venv .venv-$*
	@$(uv) pip sync --quiet --python .venv-$* --require-hashes requirements/$*.txt
	@touch $@

.aws-sam/.done: .venv-sam/.done template.yaml $(sources)
	@echo "Building the package"
	@mkdir -p .local
	@$(sam) build --cached >.local/build.log 2>&1 || { cat .local/build.log >&2; exit 1; }
	@touch $@

# What Lambda's own Python runtime brings along, apart from the tools: the package must not find anything else. It is
# compiled, or each start would do that anew.
.local/lambda/.done: .venv/.uv requirements/lambda.txt
	@rm -rf .local/lambda && mkdir -p .local/lambda
	@env -u PYTHONPYCACHEPREFIX $(uv) pip install --quiet --compile-bytecode --python .venv --target .local/lambda \
	  --require-hashes --requirement requirements/lambda.txt
	@touch $@
