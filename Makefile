# Every target makes its venv itself when that is missing or older than the project's metadata.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# tests in two processes, each of one thread (tests/conftest.py), those of a file in one of them
TWO := --numprocesses 2 --dist loadfile

VENDOR := moga_st/report/front/vendor

.PHONY: demo test test-notebook test-browser test-bundle test-mmpose test-mediapipe test-onnx site lint fuzz kill

demo: $(READY)  ## train, evaluate and draw: video prediction on real digits, then poses of a generated body
	run=$$($(BIN)/moga-st train mmnist_demo) && $(BIN)/moga-st eval "$$run"
	run=$$($(BIN)/moga-st train pose_demo) && $(BIN)/moga-st eval "$$run"

test: $(READY)  ## the whole suite, on two cores
	$(BIN)/python -m pytest $(TWO)

test-notebook: $(READY)  ## examples/tour.ipynb, from its first cell to its last
	MOGA_ST_NOTEBOOK=1 $(BIN)/python -m pytest tests/test_notebook.py

test-browser: $(READY)  ## the report's pages in a real browser: needs chromium (apt-get install chromium)
	MOGA_ST_BROWSER=1 $(BIN)/python -m pytest tests/report/test_browser.py

test-bundle:  ## build the report's two libraries anew with npm, and compare them with the committed files
	work=$$(mktemp -d) && cp $(VENDOR)/package.json $(VENDOR)/package-lock.json $(VENDOR)/build.mjs "$$work" \
	&& (cd "$$work" && npm ci --no-audit --no-fund --silent && node build.mjs built) \
	&& cd $(VENDOR) && for file in uplot.min.js uplot.min.css three.min.js; do cmp "$$file" "$$work/built/$$file" || exit 1; done \
	&& sha256sum --check SHA256SUMS; code=$$?; rm -rf "$$work"; exit $$code

test-mmpose: .venv-mmpose/.ready  ## what needs mmpose, in a venv of its own: mmpose holds numpy below 2
	.venv-mmpose/bin/python -m pytest tests/integrations tests/models tests/metrics

test-mediapipe: .venv-mediapipe/.ready  ## what needs MediaPipe, in a venv of its own: it brings opencv and jax, and numpy below 2
	.venv-mediapipe/bin/python -m pytest tests/integrations/test_mediapipe.py

test-onnx: $(READY) .venv-onnx/.ready  ## the example that runs exported networks, where there is neither torch nor this package
	MOGA_ST_ONNX_PYTHON=$(CURDIR)/.venv-onnx/bin/python $(BIN)/python -m pytest tests/test_export.py -k alone

fuzz: $(READY)  ## thousands of damaged files for every reader, with limits on time and memory; counts into experiments/records
	nice $(BIN)/python -m tests.fuzz --record experiments/records/fuzz.json

kill: $(READY)  ## kills 200 processes at their work, which must go on to the same bits; counts into experiments/records
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kill9 --record experiments/records/kill9.json

site: $(READY)  ## the results pages of experiments/, made of experiments/records alone: site/index.html
	$(BIN)/python -m moga_st.report.site experiments/records site

lint: $(READY)  ## format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), f"Python 3.10 or newer is needed, this is {sys.version}"'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo,dev,images]'
	touch $@

.venv-mmpose/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-mmpose
	.venv-mmpose/bin/pip install --quiet --disable-pip-version-check --editable '.[mmpose,test]'
	touch $@

.venv-mediapipe/.ready: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info < (3, 13), "MediaPipe 0.10.21 needs Python 3.12 or older"'
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/pip install --quiet --disable-pip-version-check --editable '.[video-pose,test]'
	touch $@

.venv-onnx/.ready: setup.cfg
	$(PYTHON) -m venv .venv-onnx
	.venv-onnx/bin/pip install --quiet --disable-pip-version-check numpy onnxruntime pillow
	touch $@
