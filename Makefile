# Every target makes its own virtual environment in .venv first.
PYTHON ?= python3
EXTRAS ?= test,dev
INSTALLED := .venv/.installed
PIP := .venv/bin/python -m pip

.PHONY: demo test bench lint clean

demo: $(INSTALLED)
	.venv/bin/python examples/demo.py

# One thread: a second one that waits for a busy core costs more than it brings.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q

# About twenty minutes, in which the machine must be left alone.
bench: $(INSTALLED)
	.venv/bin/python benchmarks/search_step.py
	.venv/bin/python benchmarks/train_step.py

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache

# The setup.py of BasicSR reads its version through exec() and locals(), which do not share names since Python 3.13.
# While BasicSR is built, exec() writes into its caller again.
define SHARED_LOCALS
import builtins, sys
run = exec
def exec_in_caller(code, *scope, **named):
    caller = sys._getframe(1)
    return run(code, *scope, **named) if scope or named else run(code, caller.f_globals, caller.f_locals)
builtins.exec = exec_in_caller
endef
export SHARED_LOCALS

# torch and torchvision in one command, so that they match; then what the build of BasicSR imports, which in an isolated
# build would be a second torch.
$(INSTALLED): setup.py pyproject.toml Makefile
	$(PYTHON) -m venv .venv
	$(PIP) install 'torch>=2.4' 'torchvision>=0.19'
	$(PIP) install numpy cython 'setuptools>=64' wheel
	mkdir -p .venv/build && echo "$$SHARED_LOCALS" > .venv/build/sitecustomize.py
	PYTHONPATH='$(CURDIR)/.venv/build' $(PIP) install --no-build-isolation basicsr
	$(PIP) install --no-build-isolation -e '.[$(EXTRAS)]'
	touch $@
