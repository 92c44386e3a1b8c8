# trickbench: the stages as a graph of files. A record depends on its checkpoint, a table on its
# records; what is there and newer is not made again. `make` alone explains.

PROTOCOL ?= demo
SEED ?= 0
DATA ?= data
RUNS ?= runs
GPUS ?= 1
MODE ?= linear
JOBS ?= $(shell nproc)
BASE_PYTHON ?= python3

# PYTHON= names an environment that the user already has, in place of .venv
ifeq ($(origin PYTHON),undefined)
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/.ready
endif

# one process per GPU; a single one needs no launcher
LAUNCH := $(if $(filter-out 1,$(GPUS)),-m torch.distributed.run --standalone --nproc-per-node $(GPUS))
COMMON = --protocol $(PROTOCOL) --seed $(SEED) --data $(DATA) --runs $(RUNS) \
	$(if $(WORKERS),--workers $(WORKERS)) $(if $(TRACK),--track $(TRACK))
# LIMIT= and OPTIONS= are for the run that was asked for, not for those that it waits for
OWN = $(if $(LIMIT),--limit $(LIMIT)) $(if $(OPTIONS),--cfg-options $(OPTIONS))
HERE := $(RUNS)/$(PROTOCOL)

# The backbone's folder: a recipe's name, with its architecture if that is another one, or the
# specification made a file name. A pretraining with settings of its own has them in its name too.
file_name = $(if $(1),$(shell printf %s '$(1)' | sed 's/[^A-Za-z0-9._+-][^A-Za-z0-9._+-]*/-/g'))
RECIPE := $(VARIANT)$(if $(ARCH),-$(ARCH))
TRAINED := $(RECIPE)$(if $(OPTIONS),-$(call file_name,$(sort $(OPTIONS))))
BACKBONE_LABEL := $(if $(BACKBONE),$(call file_name,$(BACKBONE)),$(RECIPE))

# The name of a task's folder: the stage, and every choice that is not the default, in this order.
TRIAL := $(if $(LIMIT),-limit$(LIMIT))
TRIED := $(if $(OPTIONS),-$(call file_name,$(sort $(OPTIONS))))$(TRIAL)
WHOLE := pretrain$(if $(DATASET),-$(DATASET))
PRETRAIN := $(WHOLE)$(TRIAL)
DETECT := detect$(if $(DETECTOR),-$(DETECTOR))$(if $(DATASET),-$(DATASET))$(TRIED)
SEGMENT := segment$(if $(DATASET),-$(DATASET))$(TRIED)
PROBED := $(if $(TRAIN_SIZE),-train$(TRAIN_SIZE))$(TRIED)
PROBE := $(MODE)-$(DATASET)$(PROBED)

# Only the demo protocol's data are made; others are downloaded by hand (docs/data.md).
DATA_READY := $(if $(filter demo,$(PROTOCOL)),$(DATA)/demo/manifest.json)

.SECONDARY:  # checkpoints on the way to a record are kept

ifneq ($(filter pretrain,$(MAKECMDGOALS)),)
$(if $(VARIANT),,$(error name a recipe: make pretrain VARIANT=best))
endif
ifneq ($(filter evaluate detect segment probe,$(MAKECMDGOALS)),)
$(if $(BACKBONE_LABEL),,$(error name a backbone: VARIANT=best, or BACKBONE=random:resnet50d))
endif
ifneq ($(filter probe,$(MAKECMDGOALS)),)
$(if $(DATASET),,$(error name a data set to probe on: make probe VARIANT=best DATASET=cifar10))
endif

# Before anything is trained for them.
known = $(if $(filter-out $(2),$($(1))),$(error unknown $(1)=$($(1)): there are $(2)))
$(call known,DATASET,$(sort $(basename $(notdir $(wildcard configs/data/*.py)))))
$(call known,DETECTOR,c4 fpn)
MODES := linear linear-sgd knn finetune transferability
$(call known,MODE,$(MODES))

.PHONY: help
help:
	@echo 'trickbench: which backbone, trained how, transfers best?'
	@echo
	@echo '  make demo                      everything on rendered data: two CPU cores, minutes'
	@echo '  make test                      style, types and tests'
	@echo
	@echo '  make pretrain VARIANT=best     train a backbone; its teacher first, if it has one'
	@echo '  make recipes                   list what there is to train'
	@echo '  make evaluate VARIANT=best     top-1 and top-5 (RESOLUTIONS="160 224" CROP_RATIOS="0.95 1.0")'
	@echo '  make detect   VARIANT=best     Faster R-CNN on it       (DETECTOR=fpn)'
	@echo '  make segment  VARIANT=best     dilated FCN on it'
	@echo '  make probe    VARIANT=best DATASET=cifar10   (MODE=finetune, knn ...)'
	@echo '  make tables                    print and write the tables of all records'
	@echo '  make table8                    one of Bag of Tricks (FORMAT=latex, html or csv, ROWS=mine)'
	@echo '  make tricks                    what each trick added, with intervals'
	@echo '  make report                    one HTML page with tables, figures and records (make figures)'
	@echo '  make mini-cpu ARCHIVES=DIR     recipes through four tasks on small real data, on two cores'
	@echo '  make mini ARCHIVES=DIR         more of them, on one GPU            (SEEDS="0 1 2")'
	@echo '  make data PROTOCOL=mini ARCHIVES=DIR         unpack, build and check the mini data'
	@echo
	@echo '  PROTOCOL=demo|mini|paper  SEED=0  DATA=data  RUNS=runs  GPUS=8  DATASET=NAME'
	@echo '  BACKBONE=random:resnet50d, timm:NAME or file:PATH,arch=NAME  in place of VARIANT='
	@echo '  ARCH=resnet18 (any of timm) in place of the recipe'\''s own architecture'
	@echo '  TEACHER=backbone.safetensors  LIMIT=500  TRAIN_SIZE=1000  OPTIONS="epochs=1"  WORKERS=4'
	@echo '  COMPILE=1  STRICT=1  of a pretraining    TRACK="wandb mlflow"'
	@echo '  PYTHON=python  an environment of your own in place of .venv'

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

# The newest versions that fit together on Linux, for both Pythons; needs uv. Look at what changed.
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

$(DATA)/demo/manifest.json: $(wildcard demo/*.py) | $(ENVIRONMENT)
	$(PYTHON) -m demo --out $(DATA)/demo
	@touch $@

.PHONY: recipes
recipes: | $(ENVIRONMENT)
	@$(PYTHON) -m pretrain.recipes_command

# --- pretraining ------------------------------------------------------------------------------

.PHONY: pretrain
pretrain: $(HERE)/$(PRETRAIN)/$(TRAINED)/seed$(SEED)/backbone.safetensors

# $(1): the task's folder, $(2): its data set, where that is not the protocol's own, $(3): the folder
# of its teachers, which are never trials
define pretrain_rule
$(HERE)/$(1)/%/seed$(SEED)/backbone.safetensors: $(DATA_READY) | $(ENVIRONMENT)
	$(PYTHON) $(LAUNCH) -m pretrain $(COMMON) $(if $(2),--dataset $(2)) \
		$$(if $$(filter $(RECIPE) $(TRAINED),$$*),$(VARIANT) $(if $(ARCH),--arch $(ARCH)),$$*) \
		$$(if $$(filter pretrain,$(MAKECMDGOALS)),$$(if $$(filter $(TRAINED),$$*),$(OWN))) \
		$(if $(TEACHER),--teacher $(TEACHER)) $(if $(COMPILE),--compile) $(if $(STRICT),--strict)

# Distilled recipes wait for their teachers, unless TEACHER= names one.
ifndef TEACHER
$(foreach student,$(sort distill $(if $(filter distill,$(VARIANT)),$(RECIPE) $(TRAINED))),\
	$(HERE)/$(1)/$(student)/seed$(SEED)/backbone.safetensors): $(HERE)/$(3)/teacher/seed$(SEED)/backbone.safetensors
$(foreach student,$(sort best best-120 $(if $(filter best best-120,$(VARIANT)),$(RECIPE) $(TRAINED))),\
	$(HERE)/$(1)/$(student)/seed$(SEED)/backbone.safetensors): $(HERE)/$(3)/teacher-mixup/seed$(SEED)/backbone.safetensors
endif
endef
$(eval $(call pretrain_rule,pretrain,,pretrain))
ifdef DATASET
$(eval $(call pretrain_rule,$(WHOLE),$(DATASET),$(WHOLE)))
endif
ifdef LIMIT
$(eval $(call pretrain_rule,$(PRETRAIN),$(DATASET),$(WHOLE)))
endif

# The run that was asked for is for its command to judge: finished already, or another one now.
JUDGED := $(if $(filter pretrain detect segment probe,$(MAKECMDGOALS)),judged)
.PHONY: judged
judged:
ifneq ($(filter pretrain,$(MAKECMDGOALS)),)
$(HERE)/$(PRETRAIN)/$(TRAINED)/seed$(SEED)/backbone.safetensors: $(JUDGED)
endif

# --- downstream -------------------------------------------------------------------------------

# Evaluation of a checkpoint with its classifier. A recipe's is trained first, on the classes that
# the data set has: ReaL and V2 are other labels and pictures of ImageNet's.
CLASSES := pretrain$(addprefix -,$(filter-out imagenet imagenet-real imagenet-v2,$(DATASET)))
.PHONY: evaluate
evaluate: $(if $(VARIANT),$(HERE)/$(CLASSES)/$(RECIPE)/seed$(SEED)/backbone.safetensors) $(DATA_READY) | $(ENVIRONMENT)
	$(PYTHON) $(LAUNCH) -m downstream evaluate $(COMMON) $(if $(LIMIT),--limit $(LIMIT)) \
		$(if $(BACKBONE),--backbone '$(BACKBONE)',--variant $(RECIPE)) \
		$(if $(IMAGES),--images '$(IMAGES)',$(if $(DATASET),--dataset $(DATASET))) \
		$(if $(RESOLUTIONS),--resolutions $(RESOLUTIONS)) \
		$(if $(CROP_RATIOS),--crop-ratios $(CROP_RATIOS)) \
		$(if $(PREDICTIONS),--predictions '$(PREDICTIONS)')

.PHONY: detect segment probe
detect: $(HERE)/$(DETECT)/$(BACKBONE_LABEL)/seed$(SEED)/record.json
segment: $(HERE)/$(SEGMENT)/$(BACKBONE_LABEL)/seed$(SEED)/record.json
probe: $(HERE)/$(PROBE)/$(BACKBONE_LABEL)/seed$(SEED)/record.json

# $(1): the task's folder, $(2): the command and its choices. A recipe's record depends on its
# checkpoint; any other backbone is found, or refused, by the command itself.
define downstream_rules
$(HERE)/$(1)/%/seed$(SEED)/record.json: $(HERE)/pretrain/%/seed$(SEED)/backbone.safetensors $(JUDGED)
	$(PYTHON) $(LAUNCH) -m downstream $(2) --variant $$* $(COMMON) $(OWN)

$(HERE)/$(1)/random-%/seed$(SEED)/record.json: $(DATA_READY) $(JUDGED) | $(ENVIRONMENT)
	$(PYTHON) $(LAUNCH) -m downstream $(2) --backbone random:$$* $(COMMON) $(OWN)

ifdef BACKBONE
.PHONY: $(HERE)/$(1)/$(BACKBONE_LABEL)/seed$(SEED)/record.json
$(HERE)/$(1)/$(BACKBONE_LABEL)/seed$(SEED)/record.json: $(DATA_READY) | $(ENVIRONMENT)
	$(PYTHON) $(LAUNCH) -m downstream $(2) --backbone '$(BACKBONE)' $(COMMON) $(OWN)
endif
endef
choice = $(if $(2),--$(1) $(2))
$(eval $(call downstream_rules,$(DETECT),detect $(call choice,detector,$(DETECTOR)) $(call choice,dataset,$(DATASET))))
ifneq ($(DETECT),detect-bccd)
$(eval $(call downstream_rules,detect-bccd,detect --dataset bccd))
endif
$(eval $(call downstream_rules,$(SEGMENT),segment $(call choice,dataset,$(DATASET))))
$(foreach mode,$(MODES),$(foreach set,$(sort places365 cifar10 cifar100 $(DATASET)),\
	$(eval $(call downstream_rules,$(mode)-$(set)$(PROBED),\
		probe --mode $(mode) --dataset $(set) $(call choice,train-size,$(TRAIN_SIZE))))))

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

# --- a whole protocol in one go ---------------------------------------------------------------

SEEDS ?= $(SEED)
BACKBONES_demo := best d-efficient random-resnet50d
TASKS_demo := detect segment linear-places365 linear-cifar10
BACKBONES_mini-cpu := random-resnet50d b-standard d-efficient cosine smooth mixup-120 mixup best
TASKS_mini-cpu := detect segment linear-cifar10 knn-cifar10
BACKBONES_mini := random-resnet50d b-standard d-efficient cosine smooth distill mixup mixup-120 best \
	best-120 teacher teacher-mixup a3
TASKS_mini := detect detect-bccd segment linear-cifar10 knn-cifar10 finetune-cifar10

.PHONY: records
records: $(foreach backbone,$(BACKBONES_$(PROTOCOL)),$(foreach task,$(TASKS_$(PROTOCOL)),\
	$(HERE)/$(task)/$(backbone)/seed$(SEED)/record.json))
	@:

# Side by side on a CPU's cores: the convolutions of several runs share them better than the threads
# of one do. A GPU takes one after the other, unless JOBS= says otherwise.
.PHONY: demo mini mini-cpu
demo: $(DATA)/demo/manifest.json
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --jobs $(JOBS) PROTOCOL=demo records
	@$(MAKE) --no-print-directory PROTOCOL=demo tables

mini: JOBS := $(if $(filter file,$(origin JOBS)),1,$(JOBS))
mini-cpu: export OMP_NUM_THREADS := 1
mini mini-cpu: | $(ENVIRONMENT)
	@$(MAKE) --no-print-directory PROTOCOL=$@ data
	@for seed in $(SEEDS); do \
		$(MAKE) --no-print-directory --jobs $(JOBS) PROTOCOL=$@ SEED=$$seed records || exit; done
	@$(MAKE) --no-print-directory PROTOCOL=$@ tables tricks report

# --- tests ------------------------------------------------------------------------------------

.PHONY: test lint
lint: | $(ENVIRONMENT)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache --no-logo

test: lint
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest
