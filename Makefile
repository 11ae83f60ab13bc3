# make demo      install, run the shipped example, compare it with Pythia
# make test      install, run the tests; COVERAGE=1 also says how much of the code they ran
# make test-docs install, run the commands, pages and notebooks of the documentation
# make test-install   a plain install without extras in .venv-plain, and the commands of the start page on it
# make slow      install, run the tests that take minutes
# make fuzz      ten minutes of damaged files for the readers
# make lint      ruff, mypy, import-linter
# make docs      the documentation site, in site/: warnings are errors; needs neither torch nor Pythia
# make notebooks install, run the notebooks of the site and save their outputs
# make validate  docs/validation.md: models against Pythia, NUM partons a cell (50,000 of 16 cells take hours, cached);
#                docs/validation-showers.md: calorimeter models against Geant4, SHOWER_CELLS showers a cell (hours, cached),
#                and those of copper and of whole chains in docs/calorimeter.md
# make bench     the speed table of docs/models.md
# make bench-production  the tables of docs/production.md: rates beside Pythia, costs by stage, memory of a million partons
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_VENV := .venv-docs
DOCS_STAMP := $(DOCS_VENV)/.installed
MODEL ?=
NUM ?= 50000
SHOWERS ?= 4000
SHOWER_CELLS ?= 10000 2000 500

.PHONY: demo test test-docs test-install slow fuzz lint docs notebooks validate validate-hadrons validate-showers validate-copper bench bench-production install clean
.DEFAULT_GOAL := test

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

demo: $(STAMP)
	mkdir -p demo
	$(BIN)/fastsim generate data/examples/pp_dijet.lhe.gz -o demo/generated.hepmc3 --event hard $(if $(MODEL),--model $(MODEL)) --force
	$(BIN)/fastsim reference data/examples/pp_dijet.lhe.gz -o demo/reference.hepmc3 --force
	$(BIN)/python examples/compare_with_pythia.py demo/generated.hepmc3 demo/reference.hepmc3 -o demo/comparison.png

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term:skip-covered)

test-docs: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m documentation tests

test-install:
	rm -rf .venv-plain
	$(PYTHON) -m venv .venv-plain
	.venv-plain/bin/pip install --quiet -c requirements.lock .
	sh tests/plain_install.sh "$(CURDIR)/.venv-plain/bin/fastsim"

slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

fuzz: $(STAMP)
	FASTSIM_FUZZ_EXAMPLES=3000 $(BIN)/python -m pytest -n 2 tests/fastsim/formats/test_fuzz.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

$(DOCS_STAMP): requirements-docs.lock
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet -r requirements-docs.lock
	touch $@

notebooks: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python docs/tools/run_notebooks.py

validate: validate-hadrons validate-showers validate-copper

validate-hadrons: $(STAMP)
	$(BIN)/python -m bench.validation.hadrons run --num $(NUM) $(if $(MODEL),--models $(MODEL))

validate-showers: $(STAMP)
	$(BIN)/python -m bench.validation.showers all --num $(SHOWER_CELLS)

validate-copper: $(STAMP)
	$(BIN)/python -m bench.validation.copper all --num $(SHOWERS)
	$(BIN)/python -m bench.validation.copper run --detector copper-towers
	$(BIN)/python -m bench.validation.chains

bench: $(STAMP)
	$(BIN)/python -m bench.speed $(if $(MODEL),--models $(MODEL))

bench-production: $(STAMP)
	$(BIN)/python -m bench.throughput $(if $(MODEL),--models $(MODEL))
	$(BIN)/python -m bench.throughput --profile $(if $(MODEL),--models $(MODEL))
	$(BIN)/python -m bench.endurance

clean:
	rm -rf build dist demo site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
