# make demo: environment, then the whole workflow on simulated slides. make test: the tests. Needs python3.11 or newer.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
CORES ?= all
LOCK := envs/requirements.lock
READY := .venv/.ready

.PHONY: demo demo-modern docs pictures crate wheel init faults test fuzz lint bench report reruns doctor audit env lock clean-env
.DELETE_ON_ERROR:

env: $(READY)

$(READY): $(LOCK) envs/make_environment.sh
	@test -n "$(PYTHON)" || { echo "error: no python 3.11 or newer found: install one, or say make PYTHON=/path/to/python"; exit 1; }
	PYTHON=$(PYTHON) sh envs/make_environment.sh

demo: env
	@echo "demo: 54 simulated slides, from drawing them to table, figures and report; eight to nine minutes on two cores, no network"
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakemake --cores $(CORES)
	@echo "open first: results/demo/index.html"
	@echo "table:      results/demo/benchmark.html (also .csv .md .tex)"
	@echo "provenance: results/demo/report.html"

# The demo's table with the aggregators of today beside the paper's.
demo-modern: env
	@echo "demo-modern: ten methods on 54 simulated slides; about twelve minutes on two cores, half of it after make demo"
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakemake --cores $(CORES) --configfile config/demo-modern.yaml
	@echo "table:  results/demo/benchmark.html (also .csv .md .tex)"

# Your own slides: make init SLIDES=/folder/of/slides LABELS=/labels.csv NAME=mine
init: env
	PYTHONPATH=workflow/scripts .venv/bin/python workflow/scripts/init.py $(if $(SLIDES),--slides "$(SLIDES)") \
	  $(if $(LABELS),--labels "$(LABELS)") $(if $(NAME),--name "$(NAME)") $(INIT)

# Faults on purpose, an hour and more: docs/operations.md
faults: env
	.venv/bin/python -m tests.faults --write

# The documentation as a site, site/index.html; every link in it is checked. No network.
docs: env
	.venv/bin/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build
	@echo "open: site/index.html"

# The README's picture, out of a finished demo
pictures: env
	.venv/bin/python docs/make_pictures.py

# The demo's run as a Workflow Run RO-Crate: results/demo/crate.zip
crate: env
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakemake --cores $(CORES) crate
	@echo "crate: results/demo/crate.zip"

# The scorer (camelyon-froc) and the library as dist/*.whl. Takes the build backend from the package index.
wheel:
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

test: env
	.venv/bin/python -m pytest -q -n 2 --dist loadscope $(PYTEST)

# Every reader against damaged files: 20,000 each (CASES), about half an hour. CI tries 200.
fuzz: env
	FUZZ_CASES=$(or $(CASES),20000) .venv/bin/python -m pytest -q -n 2 tests/unit/test_fuzz.py $(PYTEST)

# The lock against published advisories; fails also when a package could not be looked up (SECURITY.md).
audit:
	@command -v pip-audit > /dev/null || { echo "error: pip-audit is not installed: pipx install pip-audit"; exit 1; }
	pip-audit --strict --disable-pip --require-hashes -r $(LOCK)

# Can this machine and the config do the run? make doctor CONFIG=config/camelyon16.yaml; works where .venv is broken, too.
doctor:
	@test -x .venv/bin/python || { echo "wrong   python    no .venv here"; echo "                  -> make env"; exit 1; }
	@.venv/bin/python workflow/scripts/doctor.py --configfile $(CONFIG)

lint: env
	PATH="$(CURDIR)/.venv/bin:$$PATH" sh tests/lint.sh

bench: env
	.venv/bin/python -m bench $(or $(BENCH),--page)

report: env
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakemake --cores $(CORES) report

# The one way in which the lock is made. Needs uv and the package index.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	  envs/requirements.in -o $(LOCK)

clean-env:
	rm -rf .venv

# What a change makes run again, as a table for docs/operations.md; every row is checked.
reruns: env
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python tests/workflow/rerun_table.py
