# Every target makes its own virtual environment in .venv first.
PYTHON ?= python3
EXTRAS ?= test,dev
INSTALLED := .venv/.installed
PIP := .venv/bin/python -m pip

.PHONY: demo test evidence bench torture lint clean

demo: $(INSTALLED)
	.venv/bin/python examples/demo.py

# Processes of one thread each: a thread that waits for a busy core costs more than it brings. Three for two cores, for
# tests wait for the processes that they start. Each begins with a third of the tests, in order, so that files share
# their fixtures; who is done first takes tests from another's end.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 3 --dist worksteal

# Less than twenty minutes on two cores; the plans beside smoke.yml take hours.
evidence: $(INSTALLED)
	.venv/bin/python examples/demo.py --only-data
	.venv/bin/python benchmarks/evidence.py options/evidence/smoke.yml --jobs 2

# About twenty minutes, in which the machine must be left alone.
bench: $(INSTALLED)
	.venv/bin/python benchmarks/search_step.py
	.venv/bin/python benchmarks/train_step.py

# Hours: kills of running searches and trainings, and ten thousand broken files of every kind.
torture: $(INSTALLED)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/torture/kills.py --kills 50
	for script in $$(ls benchmarks/torture/fuzz_*.py 2>/dev/null); do \
		OMP_NUM_THREADS=1 .venv/bin/python $$script --count 10000 || exit 1; \
	done

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache

# torch and torchvision in one command, so that they match.
$(INSTALLED): setup.py pyproject.toml install_basicsr.py Makefile
	$(PYTHON) -m venv .venv
	$(PIP) install 'torch>=2.4' 'torchvision>=0.19'
	.venv/bin/python install_basicsr.py
	$(PIP) install --no-build-isolation -e '.[$(EXTRAS)]'
	.venv/bin/python -m compileall -q quantnas_sr  # which pip does to what does not stay in place
	touch $@
