# make demo    set up .venv with the light set (no torch), render 30 s, draw its spectrogram
# make test    set up .venv-dev and run the tests; make test ARGS="tests/laws -x" hands words to pytest instead
# make test-programs   the tests that talk to real programs (browser, OSC tools, JACK, PulseAudio); what is missing is named
# make proofs  the tests of examples/ with the programs they are for, and the table in examples/README.md from them
# make test-slow   networks at their full size held against torch, and Ray Serve; half an hour, 16 GB of memory
# make check   formatting, lint, types, import rules, tests: what a change has to pass
# make format  let ruff arrange the code
# make wheel   build the wheel and the source archive into dist/
# make sbom    the wheel's bill of materials (CycloneDX) into dist/, with all extras and the model's weights
# make audit   known vulnerabilities of all that the extras bring; says so where the advisories cannot be reached
# make bench   speed and memory of the built-in model on this machine
# make seams   borders of views over all sounds: the figures of docs and README
# make soak    two minutes of four live sessions, two of them attacked: nothing may be late, lost or doubled
# make study   compare the stream's swap schedules, write docs/studies/swap-schedule.md
# make train   train a model from a folder: make train DATA=~/recordings OUT=my-model
# make notice  rewrite NOTICE from a manifest of recordings: make notice MANIFEST=recordings/MANIFEST.tsv
# make clean   remove outputs and caches; make distclean also removes the environments
#
# PYTHON=python3.12 chooses the interpreter; PROMPT, DURATION and ARGS are handed on.

PYTHON ?= python3
PROMPT ?= rain on a tent, distant thunder:0.4
DURATION ?= 30
ARGS ?=
DATA ?=
OUT ?= my-model
MANIFEST ?=

LIGHT := .venv
DEV := .venv-dev
USUAL := -m "not programs and not slow"
WORKERS ?= 2
PIP_FLAGS := -qq --disable-pip-version-check --no-compile
# OpenMP threads that spin while they wait slow each other down on few cores.
export OMP_WAIT_POLICY ?= passive

.PHONY: help demo test test-programs proofs test-slow check lint types imports format wheel sbom audit bench seams soak study train notice clean distclean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(LIGHT)/.ready
	@echo "rendering $(DURATION) s of \"$(PROMPT)\" to demo.flac"
	@$(LIGHT)/bin/safa-stream render "$(PROMPT)" --duration $(DURATION) --out demo.flac --spectrogram demo.png --force $(ARGS)
	@echo "listen to demo.flac, look at demo.png; more: $(LIGHT)/bin/safa-stream render --help"

# The live server's tests run in real time and therefore alone; all others share the cores, a file in one process.
ifeq ($(strip $(ARGS)),)
test: $(DEV)/.ready
	$(DEV)/bin/python -m pytest $(USUAL) --ignore tests/server --numprocesses $(WORKERS) --dist loadfile
	$(DEV)/bin/python -m pytest $(USUAL) tests/server
else
test: $(DEV)/.ready
	$(DEV)/bin/python -m pytest $(USUAL) $(ARGS)
endif

test-programs: $(DEV)/.ready
	$(DEV)/bin/python -m pytest -m programs tests/server $(ARGS)
	@# In a process of its own: Playwright keeps an event loop running in it.
	$(DEV)/bin/python -m pytest -m programs tests/browser $(ARGS)
	$(DEV)/bin/python -m pytest -m programs tests/examples $(ARGS)

proofs: $(DEV)/.ready
	SAFA_WRITE_PROOFS=1 $(DEV)/bin/python -m pytest -m programs tests/examples $(ARGS)

test-slow: $(DEV)/.ready
	$(DEV)/bin/python -m pytest -m slow -s $(ARGS)

check: lint types imports test

lint: $(DEV)/.ready
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .

types: $(DEV)/.ready
	$(DEV)/bin/mypy

imports: $(DEV)/.ready
	$(DEV)/bin/lint-imports --no-logo

format: $(DEV)/.ready
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

wheel: $(DEV)/.ready
	rm -rf dist
	$(DEV)/bin/python -m build --outdir dist .
	@ls -l dist

sbom: $(DEV)/.ready
	@ls dist/*.whl >/dev/null 2>&1 || { echo "there is no wheel in dist/ yet: make wheel"; exit 2; }
	$(DEV)/bin/python -m tools.sbom dist/*.whl $(ARGS)

audit: $(DEV)/.ready
	$(DEV)/bin/python -m tools.audit $(ARGS)

bench: $(LIGHT)/.ready
	$(LIGHT)/bin/safa-stream bench $(ARGS)

seams: $(LIGHT)/.ready
	$(LIGHT)/bin/safa-stream eval seams $(ARGS)

soak: $(LIGHT)/.ready
	$(LIGHT)/bin/safa-stream bench soak --seconds 120 $(ARGS)

study: $(LIGHT)/.ready
	$(LIGHT)/bin/safa-stream study $(ARGS)

train: $(DEV)/.ready
	@test -n "$(DATA)" || { echo "which recordings? make train DATA=folder OUT=model"; exit 2; }
	$(DEV)/bin/safa-stream train "$(DATA)" --out "$(OUT)" $(ARGS)

notice:
	@test -n "$(MANIFEST)" || { echo "which manifest? make notice MANIFEST=recordings/MANIFEST.tsv"; exit 2; }
	$(PYTHON) tools/notice.py "$(MANIFEST)" > NOTICE.partial && mv NOTICE.partial NOTICE

# An environment is made anew when what it is made from has changed. Sources are used in place, so changing them costs nothing.
$(LIGHT)/.ready: pyproject.toml | python-is-new-enough
	@echo "setting up $(LIGHT) (about 150 MB, no torch)"
	@rm -rf $(LIGHT)
	@$(PYTHON) -m venv $(LIGHT) || { echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(LIGHT)/bin/python -m pip install $(PIP_FLAGS) -e ".[cpu]"
	@$(LIGHT)/bin/python -m pip uninstall --quiet --yes setuptools 2>/dev/null || true
	@find $(LIGHT) -path '*/site-packages/pip/*' -name __pycache__ -prune -exec rm -rf {} +
	@echo "$(LIGHT) is ready: $$(du -sm $(LIGHT) | cut -f1) MB with pip"
	@touch $@

$(DEV)/.ready: pyproject.toml constraints.txt | python-is-new-enough
	@echo "setting up $(DEV) (with torch)"
	@rm -rf $(DEV)
	@$(PYTHON) -m venv $(DEV) || { echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(DEV)/bin/python -m pip install $(PIP_FLAGS) --constraint constraints.txt -e ".[dev]"
	@touch $@

.PHONY: python-is-new-enough
python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "safa-stream needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose another: make PYTHON=python3.12 ...")'

clean:
	rm -rf dist build demo.flac demo.png .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find safa_stream server exporters tests tools examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(LIGHT) $(DEV)
