# Sets up the environment and the demo data, then calls `trickbench`, which plans and runs.
# `make` alone prints the help.

PROTOCOL ?= demo
SEED ?= 0
DATA ?= data
RUNS ?= runs
GPUS ?= 1
BASE_PYTHON ?= python3

# PYTHON= names an environment that the user already has, instead of .venv
ifeq ($(origin PYTHON),undefined)
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/.ready
endif

TRICKBENCH = $(PYTHON) -m trickbench
# $(call option,name,value): --name value, where there is a value
option = $(if $(2),--$(1) $(2))
PLACES = --data '$(DATA)' --runs '$(RUNS)' $(call option,workers,$(WORKERS)) \
	$(if $(filter-out 1,$(GPUS)),--gpus $(GPUS)) $(call option,jobs,$(JOBS)) $(if $(DRY_RUN),--dry-run)
# Only the demo's data is made here; other protocols' is downloaded (docs/data.md).
DEMO_DATA := $(DATA)/demo/manifest.json
DATA_READY := $(if $(filter demo,$(PROTOCOL)),$(DEMO_DATA))

.PHONY: help
help:
	@echo 'trickbench: which backbone, trained how, transfers best?'
	@echo
	@echo '  make demo                      every stage on rendered data: two CPU cores, minutes'
	@echo '  make test                      style, types and tests'
	@echo
	@echo '  make pretrain VARIANT=best     train a backbone; its teacher first, if it has one'
	@echo '  make recipes                   list the recipes'
	@echo '  make evaluate VARIANT=best     top-1 and top-5 (RESOLUTIONS="160 224" CROP_RATIOS="0.95 1.0")'
	@echo '  make detect   VARIANT=best     Faster R-CNN on it       (DETECTOR=fpn)'
	@echo '  make instances VARIANT=best    Mask R-CNN on it         (DETECTOR=fpn)'
	@echo '  make segment  VARIANT=best     dilated FCN on it'
	@echo '  make probe    VARIANT=best DATASET=cifar10   (MODE=linear, finetune, knn ...)'
	@echo '  make tables                    print and write the tables of all records'
	@echo '  make table8                    one of Bag of Tricks (FORMAT=latex or csv, ROWS=mine)'
	@echo '  make tricks                    what each trick added, with intervals'
	@echo '  make report                    one HTML page with tables, figures and records (make figures)'
	@echo '  make mini-cpu ARCHIVES=DIR     a study on small real data, two CPU cores: data, runs, tables'
	@echo '  make mini ARCHIVES=DIR         a larger one, on one GPU            (SEEDS="0 1 2" JOBS=2)'
	@echo '  make records PROTOCOL=mini     the runs of a study alone; those that are done are skipped'
	@echo '  make data PROTOCOL=mini ARCHIVES=DIR         unpack, build and check the data'
	@echo
	@echo '  PROTOCOL=demo|mini-cpu|mini|paper  SEED=0  DATA=data  RUNS=runs  GPUS=8  DATASET=NAME'
	@echo '  DRY_RUN=1  print the commands of a task or of records, and run nothing'
	@echo '  BACKBONE=random:resnet50d, timm:NAME or file:PATH,arch=NAME  instead of VARIANT='
	@echo '  ARCH=resnet18 (any of timm) instead of the recipe'\''s own architecture'
	@echo '  TEACHER=backbone.safetensors  OPTIONS="epochs=1"  TRAIN_SIZE=1000  LIMIT=500 (a debug run)'
	@echo '  COMPILE=1  STRICT=1 (pretraining)  TRACK="wandb mlflow"  WORKERS=4'
	@echo '  PYTHON=python  use this environment instead of .venv'

# --- set-up -----------------------------------------------------------------------------------

.venv/.ready: requirements.lock pyproject.toml
	@$(BASE_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo 'trickbench needs Python 3.11 or 3.12: make BASE_PYTHON=python3.11 ...' >&2; exit 2; }
	$(BASE_PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	touch $@

# The newest versions that fit together on Linux, for both Pythons; needs uv. Review the diff.
.PHONY: lock
lock:
	grep '^#' requirements.lock > requirements.tmp
	uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes \
		--python-platform x86_64-unknown-linux-gnu --no-emit-package opencv-python \
		--no-header --no-annotate >> requirements.tmp
	mv requirements.tmp requirements.lock

# --- data -------------------------------------------------------------------------------------

.PHONY: data
data: $(ENVIRONMENT)
ifeq ($(PROTOCOL),demo)
	$(PYTHON) -m demo --out $(DATA)/demo
else
	$(PYTHON) -m downstream data --protocol $(PROTOCOL) --data $(DATA) $(if $(ARCHIVES),--archives $(ARCHIVES))
endif

$(DEMO_DATA): $(wildcard demo/*.py) | $(ENVIRONMENT)
	$(PYTHON) -m demo --out $(DATA)/demo
	@touch $@

.PHONY: recipes
recipes: | $(ENVIRONMENT)
	@$(TRICKBENCH) recipes

# --- tasks: `trickbench run` first pretrains the backbone and its teacher --------------------

# the commands that core/tasks.py declares
TASKS := $(shell sed -n 's/^ *command=."\([a-z]*\)".*/\1/p' core/tasks.py)
.PHONY: $(TASKS)
$(TASKS): $(DATA_READY) | $(ENVIRONMENT)
	@$(TRICKBENCH) run $@ --protocol $(PROTOCOL) --seed $(SEED) $(PLACES) \
		$(call option,variant,$(VARIANT)) $(if $(BACKBONE),--backbone '$(BACKBONE)') \
		$(call option,arch,$(ARCH)) $(call option,mode,$(MODE)) $(call option,detector,$(DETECTOR)) \
		$(call option,dataset,$(DATASET)) $(if $(IMAGES),--images '$(IMAGES)') \
		$(call option,train-size,$(TRAIN_SIZE)) $(call option,limit,$(LIMIT)) \
		$(call option,cfg-options,$(OPTIONS)) $(call option,track,$(TRACK)) \
		$(call option,resolutions,$(RESOLUTIONS)) $(call option,crop-ratios,$(CROP_RATIOS)) \
		$(if $(PREDICTIONS),--predictions '$(PREDICTIONS)') $(if $(TEACHER),--teacher '$(TEACHER)') \
		$(if $(COMPILE),--compile) $(if $(STRICT),--strict)

# --- results ----------------------------------------------------------------------------------

.PHONY: figures report
figures report: | $(ENVIRONMENT)
	@$(PYTHON) -m results $@ --protocol $(PROTOCOL) --runs $(RUNS) --data $(DATA)

.PHONY: tables
tables: | $(ENVIRONMENT)
	@$(PYTHON) -m results tables --protocol $(PROTOCOL) --runs $(RUNS) $(if $(FORMAT),--format $(FORMAT))

.PHONY: tricks
tricks: | $(ENVIRONMENT)
	@$(PYTHON) -m results tricks --protocol $(PROTOCOL) --runs $(RUNS) $(if $(FORMAT),--format $(FORMAT))

BAG_OF_TRICKS := $(addprefix table,1 2 3 4 5 6 7 8 9)
.PHONY: $(BAG_OF_TRICKS)
$(BAG_OF_TRICKS): table%: | $(ENVIRONMENT)
	@$(PYTHON) -m results table bag-of-tricks/$* --protocol $(PROTOCOL) --runs $(RUNS) \
		$(if $(FORMAT),--format $(FORMAT)) $(if $(ROWS),--rows $(ROWS))

# --- studies: the backbones and tasks of configs/study -----------------------------------------

.PHONY: demo mini mini-cpu records
demo: $(DEMO_DATA)
	@$(TRICKBENCH) study run demo $(PLACES) $(call option,seeds,$(SEEDS))
	@$(TRICKBENCH) tables --protocol demo --runs '$(RUNS)'

mini mini-cpu: | $(ENVIRONMENT)
	@$(MAKE) --no-print-directory PROTOCOL=$@ data
	@$(TRICKBENCH) study run $@ $(PLACES) $(call option,seeds,$(SEEDS))
	@$(MAKE) --no-print-directory PROTOCOL=$@ tables tricks report

records: $(DATA_READY) | $(ENVIRONMENT)
	@$(TRICKBENCH) study run $(PROTOCOL) $(PLACES) $(call option,seeds,$(SEEDS))

# --- tests ------------------------------------------------------------------------------------

.PHONY: test lint
lint: | $(ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache --no-logo

test: lint
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest
