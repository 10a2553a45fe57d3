# Everything a checkout needs: `make demo` to see it work, `make test` to trust it.
# Only Python ≥ 3.11 and make have to be there; the rest goes into .venv, at the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TOOLS := axe-playwright-python hatchling editables httpx hypothesis ipykernel jaxtyping mypy nbclient onnx onnxruntime openai playwright pytest pytest-randomly pytest-xdist ruff schemathesis tensorboard typeguard
.PHONY: demo test test-clients test-oldest test-newest reliability soak audit check sanitize bench clean hosts

demo: $(VENV)/kernels
	$(BIN)/charloom demo

TESTS := $(BIN)/python -m pytest -q -n 2 --dist loadfile

# What also works without the compiled kernels, as on a platform that has none.
PLAIN := tests/engines/scratch tests/engines/torch/test_network.py tests/engines/torch/test_mingru.py \
	tests/evaluation/test_memorisation.py tests/generation

test: $(VENV)/tools
	$(TESTS)
	CHARLOOM_CPU=none $(TESTS) $(PLAIN)

# The server against other people's programs, which bring a gigabyte of packages: an environment of their own on top of
# this one, and one with the oldest openai package.
CLIENTS := llm litellm langchain-openai lm-eval

test-clients: $(VENV)/clients/installed
	PYTHONPATH=src CHARLOOM_OLD_OPENAI=$(VENV)/openai-1/bin/python \
		$(VENV)/clients/bin/python -m pytest -q -rs tests/serve/test_clients.py

$(VENV)/clients/installed: $(VENV)/tools
	$(BIN)/python -m venv $(VENV)/clients
	$(BIN)/python -c 'import site; print(*site.getsitepackages())' \
		> $$($(VENV)/clients/bin/python -c 'import site; print(*site.getsitepackages())')/tools.pth
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(CLIENTS)
	$(BIN)/python -m venv $(VENV)/openai-1
	$(VENV)/openai-1/bin/python -m pip install --quiet --disable-pip-version-check 'openai==1.0.0' 'httpx<0.28'
	touch $@

# The tests that touch the dependencies, with the oldest and with the newest version of each that pyproject.toml allows,
# in environments of their own on top of this one. PyTorch stays at the version below, as each build takes gigabytes.
BOUNDS ?= $(VENV)/bounds
DEPENDENT := tests/cli tests/text tests/schema tests/recipes tests/serve tests/tuning tests/export tests/progress \
	tests/report tests/insight tests/engines/scratch tests/training/test_resume.py tests/files tests/test_golden.py \
	tests/test_modelfile.py tests/test_plots.py tests/test_plots_insight.py tests/test_tensorboard_log.py \
	tests/test_threads.py

test-oldest test-newest: test-%: $(BOUNDS)/%/installed
	PYTHONPATH=$(CURDIR)/src $(BOUNDS)/$*/bin/python -m pytest -q -n 2 --dist loadfile $(DEPENDENT)

$(BOUNDS)/%/installed: $(VENV)/tools tools/dependency_bounds.py
	$(BIN)/python -m venv --clear $(BOUNDS)/$*
	$(BIN)/python tools/dependency_bounds.py $* > $(BOUNDS)/$*/requirements.txt
	$(BOUNDS)/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $(BOUNDS)/$*/requirements.txt
	$(BIN)/python -c 'import site; print(*site.getsitepackages())' \
		> $$($(BOUNDS)/$*/bin/python -c 'import site; print(*site.getsitepackages())')/tools.pth
	touch $@

# Thousands of attacks on every kind of file, with their counts.
reliability: $(VENV)/tools
	$(BIN)/python -m pytest -q -n 2 -rP --no-header -m reliability tests

# The same for an hour, or `make soak MINUTES=5`, with other attacks in every round; the results go into the page of promises.
MINUTES ?= 60

soak: $(VENV)/tools
	$(BIN)/python -m benchmarks soak --minutes $(MINUTES)

# The installed versions against the known vulnerabilities, by a tool in an environment of its own.
audit: $(VENV)/audit/installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^torch==' > $(VENV)/audit/installed.txt
	$(VENV)/audit/bin/python -m pip_audit --no-deps --disable-pip -r $(VENV)/audit/installed.txt

$(VENV)/audit/installed: $(VENV)/installed
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	touch $@

check: $(VENV)/tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TESTS)
	CHARLOOM_CPU=none $(TESTS) $(PLAIN)

# Two hosts on this machine, with a link that is slowed down and cut: Linux, root and iproute2, else skipped.
hosts: $(VENV)/tools
	$(BIN)/python -m pytest -q -rs -m hosts tests/distributed

# The kernels with undefined-behaviour checks, any of which ends the tests; then the ordinary library again.
sanitize: $(VENV)/tools
	$(BIN)/python tools/build_kernels.py --sanitize
	$(BIN)/python -m pytest -q tests/kernels tests/engines/fused; \
	status=$$?; $(BIN)/python tools/build_kernels.py && exit $$status

bench: $(VENV)/kernels
	$(BIN)/python -m benchmarks training

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist

# PyTorch comes first and by its exact version: a range would take the newest build. If pip would install GPU libraries
# with it, as from PyPI on Linux, the CPU build is taken from PyTorch's own index, or from `make TORCH_INDEX=URL`.
TORCH := torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
REPORT := $(INSTALL) --dry-run --ignore-installed --report - $(TORCH)
HAS_GPU_LIBRARIES := import json, sys; names = [found["metadata"]["name"] for found in json.load(sys.stdin)["install"]]; \
	sys.exit(not any(name.startswith(("nvidia", "cuda")) for name in names))

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	if $(REPORT) 2>/dev/null | $(BIN)/python -c '$(HAS_GPU_LIBRARIES)' 2>/dev/null; \
	then $(INSTALL) $(TORCH) --index-url $(TORCH_INDEX); \
	else $(INSTALL) $(TORCH); fi
	$(INSTALL) hatchling editables ziglang
	$(INSTALL) --no-build-isolation -e '.[all]'
	touch $@

# The editable install compiles the kernels; after a change to them, they are compiled again.
$(VENV)/kernels: $(VENV)/installed $(wildcard src/charloom/kernels/native/*) tools/build_kernels.py
	$(BIN)/python tools/build_kernels.py
	$(BIN)/python tools/build_kernels.py --target wasm
	touch $@

$(VENV)/tools: $(VENV)/kernels
	$(INSTALL) $(TOOLS)
	touch $@
