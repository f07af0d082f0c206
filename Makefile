# `make help` lists the targets. Everything that is built stands below .venv, .venv-triton and $(SENSORIUM_HOME).

PYTHON ?= python3.11
export SENSORIUM_HOME ?= $(CURDIR)/.sensorium
VENV := .venv
BIN := $(VENV)/bin
# A bounded number of threads for every process we start: the machine's two cores are shared by all of them.
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo test lint types tests env env-test triton catalogue models train fusion rerank attend retrain evaluate bench bench-kernels export-reference peers loadtest overload swaps faults gpu-check dashboard-picture flame-picture proto up down clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: env triton catalogue models ## everything, from nothing to a search page on 127.0.0.1:8080 (CHECK=1: search, then exit)
	@$(BIN)/python -m cli.demo $(if $(CHECK),--check)

test: env-test triton models lint types tests ## everything its tests need, then lint, types and all tests

lint: env-test ## ruff: style, imports, common faults
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env-test ## mypy, strict
	$(BIN)/mypy

tests: env-test ## the tests alone (TESTS=tests/unit for a part of them)
ifdef TESTS
	$(BIN)/pytest $(TESTS)
else
	@# A core for each half of what opens no socket; then both cores for what runs servers. Both are run, whatever fails.
	@$(BIN)/pytest -n 2 --dist loadfile tests/unit tests/contract; first=$$?; \
	    $(BIN)/pytest tests/integration tests/e2e && exit $$first
endif

env: $(VENV)/.stamp-run ## the project's environment
env-test: $(VENV)/.stamp-test ## the same with what the tests need

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "needs Python 3.11: apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "needs venv: apt-get install python3.11-venv"; exit 1; }

$(VENV)/.stamp-run: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python scripts/pip_progress.py "python environment" 95 "$(SENSORIUM_HOME)/run/pip-run.log" \
	    $(BIN)/pip install --disable-pip-version-check -e '.[export]' -c constraints.txt
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run
	@$(BIN)/python scripts/pip_progress.py "test environment" 160 "$(SENSORIUM_HOME)/run/pip-test.log" \
	    $(BIN)/pip install --disable-pip-version-check -e '.[training,tensorrt,loadtest,milvus-server,test]' -c constraints.txt
	@touch $@

$(VENV)/.stamp-gpu: $(VENV)/.stamp-run
	@$(BIN)/python scripts/pip_progress.py "TensorRT environment" 115 "$(SENSORIUM_HOME)/run/pip-gpu.log" \
	    $(BIN)/pip install --disable-pip-version-check -e '.[gpu]' -c constraints.txt
	@touch $@

triton: env ## the Triton server and the environment of its Python steps
	@$(BIN)/python -m serving install

catalogue: env ## the stamps (Debian package), or the generated catalogue where they cannot be had
	@$(BIN)/python -m cli.catalogues

export-reference: env-test catalogue models ## the graphs of `reference` at true size with random weights: gates, INT8, Q/DQ for TensorRT, tables (by hand: an hour)
	@$(BIN)/python -m export --profile reference --random-init --target tensorrt-graphs
	@$(BIN)/python -m export report --profile reference --random-init
	@$(BIN)/python -m export report --profile reference --random-init --target tensorrt-graphs

models: env catalogue ## checkpoints -> ONNX -> INT8 -> gates -> model_repository/
	@$(BIN)/python -m export --profile lite

gpu-check: $(VENV)/.stamp-gpu catalogue ## on a machine with an NVIDIA GPU: TensorRT plans, compared and measured (not yet run)
	@$(BIN)/python -m export.tensorrt_check

up: env ## start Triton, Milvus and the orchestrator in the background
	@$(BIN)/sensorium up

down: ## stop what `up` started
	@test ! -x $(BIN)/sensorium || $(BIN)/sensorium down

train: env-test catalogue ## learn the adapters and calibration again (training/checkpoints/)
	@$(BIN)/python -m training --profile lite

fusion: env-test triton models ## learn calibration and fusion weights from the running pipeline, then install them
	@$(BIN)/python -m cli.learn fusion
	@$(BIN)/python -m export --profile lite

rerank: env-test triton models ## train the re-ranker on what a running system finds, then export it
	@$(BIN)/python -m cli.learn reranker
	@$(BIN)/python -m export --profile lite

attend: env-test catalogue ## train attention fusion of several parts on generated products and stamps, then export it
	@$(BIN)/python -m training attend
	@$(BIN)/python -m export --profile lite

evaluate: env-test triton models ## relevance through the public API -> reports/evaluation.json (ARGS="--quick", "--compare A B", ...)
	@$(BIN)/python -m cli.measure relevance $(ARGS)

retrain: env-test triton models ## learn from users' clicks; promote what is better (data/personalise.json)
	@$(BIN)/python -m cli.measure standing
	@$(BIN)/python -m training feedback

bench: env-test triton models ## speed of encoders, Triton and whole searches -> reports/bench.json
	@$(BIN)/python -m cli.measure speed

bench-kernels: env-test ## cross-attention retrieval beside PyTorch eager -> reports/kernels.json (ARGS="--rounds 3", ...)
	@$(BIN)/python -m benchmarks.kernels $(ARGS)

dashboard-picture: env-test triton models ## docs/images/dashboard.png: the dashboard's queries on a real Prometheus
	@$(BIN)/python -m scripts.dashboard_picture

flame-picture: env-test triton models ## docs/images/flame.png: where a search spends its time (as root)
	@PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m scripts.flame_picture

peers: env-test triton models ## our encoder and search beside MLServer, LitServe, infinity and others -> reports/peers.json (ARGS="--rounds 5", ...)
	@$(BIN)/python -m cli.peers $(ARGS)

loadtest: env-test triton models ## steps, spike, soak and overload -> reports/loadtest.html (ARGS="--soak-s 600", "--scenarios soak", ...)
	@$(BIN)/python -m cli.loadtest $(ARGS)

overload: env-test triton models ## kept answers at twice the rate that can be given, by h2load -> reports/overload.json
	@$(BIN)/python -m cli.overload $(ARGS)

faults: env-test triton models ## what breaks under load, and how it comes back -> reports/faults.json (ARGS="--only stub,redis", ...)
	@$(BIN)/python -m cli.faults $(ARGS)

swaps: env-test triton models ## 100 swaps of releases under load -> reports/swaps.json (ARGS="--swaps 20 --rate 2", ...)
	@$(BIN)/python -m cli.swaps $(ARGS)

proto: env-test ## generate sensorium/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/sensorium/v1/sensorium.proto

clean: down ## remove environments, builds and all state
	rm -rf $(VENV) .venv-triton reports build *.egg-info
	@test ! -d "$(SENSORIUM_HOME)/run" || rm -rf "$(SENSORIUM_HOME)"
	find model_repository -path '*/[0-9]*/*' \( -name '*.onnx' -o -name '*.ort' -o -name '*.plan' -o -name 'tensorrt.json' -o -name 'manifest.json' -o -name 'tokenizer.*' \) -delete
	rm -f model_repository/embedding.json
