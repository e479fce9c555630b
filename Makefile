# make book    build the book            make lint     style and types
# make test    check everything          make outputs  refresh the checked outputs of the chapters
# make serve   read the book             make bench    measure the numbers the book quotes
# make figure NAME=Walkers   work on one figure: it reloads when a script is saved
# make clean   remove all that was made     make portable  do the checked numbers survive other machines?
# make pdf     the whole book as one PDF    make zip       all pages in one file
# make slides  slides for lectures          make site      book, PDF, slides and zip, as they are published
# make jupyter chapters and figures in a real JupyterLab and Notebook (half an hour)
# make engines every page and figure in Firefox and in WebKit (a quarter of an hour)

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
STAMP := .venv/installed

# The networks are small: one thread is as fast as two, and stays so on a busy machine.
export OMP_NUM_THREADS ?= 1
# glibc hands every large array back to the system when it is freed, and asks for fresh pages for the next: in some
# chapters half of the processor time. So it keeps up to a gigabyte. Elsewhere than with glibc this does nothing.
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824

.PHONY: book pdf slides zip site test jupyter engines serve figure lint bench outputs portable mutants clean

# `make book SOLUTIONS=0` builds it without solutions, in a folder of its own, which it names.
book: $(STAMP)
	@$(BIN)/python tools/build_book.py -q

# On Linux first PyTorch's CPU build, if it is to be had: without it, pip takes gigabytes of GPU libraries.
# For a GPU: `make TORCH_INDEX=` takes PyPI's, or names another index.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
SYSTEM := $(shell uname -s)
define SMALL_TORCH
$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIN) --no-deps --retries 0 --timeout 15 \
  --index-url $(TORCH_INDEX) '$(shell sed -n 's/^  "\(torch[<>=].*\)",$$/\1/p' pyproject.toml)' || \
  echo "PyTorch is not to be had from $(TORCH_INDEX); taking it from where all else comes from, of any size."
endef

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "This book needs Python 3.11 or newer. Name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(if $(filter Linux,$(SYSTEM)),@$(SMALL_TORCH)))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIN) --editable '.[book,test]'
	@touch $@

# As many tests at a time as there are cores, up to four.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 4

# Exact versions; `make PIN=` takes the newest allowed ones instead.
PIN := --constraint constraints.txt

# For scripts and styles, and needs Node. The rules are in biome.json. `$(BIOME) check --write` formats.
BIOME := npx --yes --prefer-offline --fetch-retries=0 --fetch-timeout=20000 @biomejs/biome@2.6.8

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if ! command -v npx > /dev/null; then echo "Scripts and styles not checked: there is no Node."; \
	elif ! $(BIOME) --version > /dev/null 2>&1; then echo "Scripts and styles not checked: Biome is not to be had."; \
	else $(BIOME) check --error-on-warnings; fi

test: lint
	$(PYTEST) --ignore tests/browser --ignore tests/built --junit-xml _build/tests-library.xml
	@$(MAKE) --no-print-directory book
	$(PYTEST) tests/built tests/browser --junit-xml _build/tests-pages.xml

# Not in `make test`: it takes long, and installs more.
jupyter: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIN) --editable '.[lab]' 'notebook>=7'
	$(BIN)/pytest tests/jupyter

# Not in `make test`: it needs Firefox and WebKit. On Debian: firefox-esr, webkit2gtk-driver, xvfb.
engines: book
	$(BIN)/pytest tests/engines

# PDF and slides need Chromium, as the browser tests do.
pdf: book
	$(BIN)/python tools/print_book.py

slides: book
	$(BIN)/python tools/slides.py

zip: book
	$(BIN)/python tools/publish.py zip

site: pdf slides
	$(BIN)/python tools/publish.py

serve: $(STAMP)
	@test -f _build/html/index.html || $(MAKE) --no-print-directory book
	$(BIN)/python tools/serve.py $(PORT)

# One figure, with the state that the last build saved; it reloads when a script or a sheet is saved.
figure: $(STAMP)
	@$(BIN)/python tools/figure.py "$(NAME)" $(PORT)

# All but those for a GPU (see CONTRIBUTING.md), and what they share.
BENCHMARKS := $(filter-out %/common.py %/peer.py %/on_a_gpu.py %/throughput.py,$(wildcard benchmarks/*.py))

bench: $(STAMP)
	@set -e; for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python "$$script"; done

# Slips that the tests of the checked equations do not notice. ONLY="text" chooses functions.
mutants: $(STAMP)
	PYTHONPATH=book/_ext:tests $(BIN)/python tools/mutants.py --jobs 2 $(if $(ONLY),--only $(ONLY)) $(if $(ANEW),--anew)

outputs: $(STAMP)
	$(BIN)/python tools/refresh_outputs.py

# It takes long; for one chapter: .venv/bin/python tools/portable.py book/01-sampling.ipynb
portable: $(STAMP)
	$(BIN)/python tools/portable.py --tests

clean:
	rm -rf .venv _build .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
