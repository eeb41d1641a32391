# One command per thing. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS ?= cpu,dev
# google.rpc.Status as the installed package has it, for the protos that import it.
GOOGLEAPIS := build/googleapis

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all fuzz bench bench-peers client-tools lint format protos stubs native-test chart-tools chart-cluster trace-tools clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[36m%-12s\033[0m %s\n", $$1, $$2}'

$(STAMP): pyproject.toml CMakeLists.txt $(shell find native -name '*.cc' -o -name '*.h')
	@echo '1 of 3: the environment, $(VENV)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=26.3'
	@echo '2 of 3: the packages that llmrouter needs, fetched and installed; this takes minutes'
	@$(BIN)/python -m pip install --quiet --only-deps '.[$(EXTRAS)]'
	@echo '3 of 3: its engine, compiled; this takes minutes, too'
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

install: $(STAMP) ## Make the environment and build the native engine

demo: $(STAMP) ## Fetch the demo model, start the suite, answer a question
	$(BIN)/llmrouter demo

test: $(STAMP) ## Run the default tests, two files at a time (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-all: $(STAMP) ## Run every test, the slow ones too
	$(BIN)/python -m pytest -m ''

fuzz: $(STAMP) ## Damage checkpoints in new ways: ARGS='--seconds 600 --only gguf/'
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: $(STAMP) ## Run a benchmark: NAME=foundation OUT=file.json DATA=file TRAIN=rows ARGS='…'
	$(BIN)/python -m tests.benchmarks --name '$(or $(NAME),foundation)' --out '$(or $(OUT),build/bench-$(or $(NAME),foundation).json)' \
		$(if $(DATA),--data '$(DATA)') $(if $(TRAIN),--train '$(TRAIN)') $(ARGS)

bench-peers: $(STAMP) ## Install what benchmarks compare with; builds llama.cpp unless ARGS=gateways
	$(BIN)/python -m tests.benchmarks.peers.install $(ARGS)

lint: $(STAMP) $(GOOGLEAPIS) ## Check style, types, import contracts, protos and C++ format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=services:clients/python $(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/hadolint Dockerfile
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'native/*.cc' 'native/*.h' 'tests/native/*.cc' 'tests/native/*.h' 'tests/benchmarks/native/*.cc')

format: $(STAMP) ## Format Python, C++ and protos
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'native/*.cc' 'native/*.h' 'tests/native/*.cc' 'tests/native/*.h' 'tests/benchmarks/native/*.cc')

$(GOOGLEAPIS): $(STAMP)
	@rm -rf $@ && mkdir -p $@/google/rpc
	@ln -s "$$($(BIN)/python -c 'import google.rpc as rpc; print(list(rpc.__path__)[0])')/status.proto" $@/google/rpc/

protos: $(STAMP) $(GOOGLEAPIS) ## Regenerate the committed Python stubs
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos -I$(GOOGLEAPIS) --python_out=services --grpc_python_out=services \
		--mypy_out=services --mypy_grpc_out=services protos/llmrouter/v1/*.proto

# Not the locale of whoever calls.
STUBS_FOR = $(if $(filter command,$(firstword $(origin LANG))),$(LANG))

stubs: $(STAMP) ## Write stubs for another language: LANG=go
	@case '$(STUBS_FOR)' in \
	go) $(MAKE) --no-print-directory stubs-go ;; \
	'') echo "name the language: make stubs LANG=go" >&2; exit 2 ;; \
	*) echo "LANG=$(STUBS_FOR) is not supported; use LANG=go" >&2; exit 2 ;; esac

# The protos name no Go package: they belong to no language. The names are given here.
GO_PROTOS = $(sort $(wildcard protos/llmrouter/v1/*.proto))
GO_NAMES = $(foreach proto,$(GO_PROTOS:protos/%=%),$(foreach kind,go go-grpc,--$(kind)_opt=M$(proto)=llmrouter/gen/llmrouterv1))
GO_PLUGINS = build/gobin/protoc-gen-go build/gobin/protoc-gen-go-grpc

build/gobin/protoc-gen-go:
	GOBIN=$(abspath build/gobin) go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10
build/gobin/protoc-gen-go-grpc:
	GOBIN=$(abspath build/gobin) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1

.PHONY: stubs-go
stubs-go: $(GO_PLUGINS) $(GOOGLEAPIS)
	@mkdir -p clients/go/gen
	$(BIN)/python -m grpc_tools.protoc -Iprotos -I$(GOOGLEAPIS) $(foreach plugin,$(GO_PLUGINS),--plugin=$(abspath $(plugin))) \
		--go_out=clients/go/gen --go_opt=module=llmrouter/gen --go-grpc_out=clients/go/gen --go-grpc_opt=module=llmrouter/gen \
		$(GO_NAMES) $(GO_PROTOS)

build/gobin/helm:
	GOBIN=$(abspath build/gobin) go install helm.sh/helm/v3/cmd/helm@v3.22.0
build/gobin/kube-score:
	GOBIN=$(abspath build/gobin) go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0

chart-tools: build/gobin/helm build/gobin/kube-score ## Build what the tests of the chart run: helm, kube-score

# A server that was not built by its own makefile does not know its version, which charts ask for.
APISERVER_VERSION = $(addprefix -X k8s.io/component-base/version.,gitVersion=v1.37.2 gitMajor=1 gitMinor=37)
CLUSTER_MODULE = tests/helm/cluster
build/gobin/kube-apiserver: $(CLUSTER_MODULE)/go.mod $(CLUSTER_MODULE)/go.sum
	cd $(CLUSTER_MODULE) && go build -ldflags '-s -w $(APISERVER_VERSION)' -o $(abspath build/gobin)/ ./etcd ./kube-apiserver
	@touch $@

chart-cluster: chart-tools build/gobin/kube-apiserver ## Build an API server to install the chart on (ten minutes)

JAEGER_MODULE = tests/integration/suite/jaeger
build/gobin/jaeger: $(JAEGER_MODULE)/go.mod $(JAEGER_MODULE)/go.sum
	cd $(JAEGER_MODULE) && go build -ldflags '-s -w' -o $(abspath build/gobin)/ github.com/jaegertracing/jaeger/cmd/jaeger
	@touch $@

trace-tools: build/gobin/jaeger ## Build Jaeger, to which tests send their traces (four minutes)

CLIENTS = tests/integration/clients

client-tools: ## Install clients that are not ours, for the tests that have them ask: Node's, LangChain's, LiteLLM's
	@mkdir -p build/clients && cp $(CLIENTS)/package.json $(CLIENTS)/package-lock.json build/clients/
	cd build/clients && npm ci --no-audit --no-fund
	test -x build/clients/venv/bin/python || $(PYTHON) -m venv build/clients/venv
	build/clients/venv/bin/python -m pip install --quiet -r $(CLIENTS)/requirements.txt

native-test: $(STAMP) ## Build and run the C++ tests; SANITIZE=address|undefined|thread
	cmake -S . -B build/native-$(or $(SANITIZE),plain) -G Ninja -DLLMROUTER_BUILD_TESTS=ON -DLLMROUTER_BUILD_BENCHMARKS=ON -DLLMROUTER_SANITIZE='$(SANITIZE)' -DLLMROUTER_WERROR=$(if $(SANITIZE),OFF,ON) -DCMAKE_BUILD_TYPE=RelWithDebInfo
	cmake --build build/native-$(or $(SANITIZE),plain)
	LLMROUTER_TEST_ORT_LIBRARY="$$(ls $(abspath $(VENV))/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.* | head -1)" \
		TSAN_OPTIONS=suppressions=$(abspath tests/native/tsan.supp) \
		ctest --test-dir build/native-$(or $(SANITIZE),plain) --output-on-failure

clean: ## Remove the environment and what was built
	rm -rf $(VENV) build
