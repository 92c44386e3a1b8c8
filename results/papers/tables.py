"""All tables: the papers', then probes and costs."""

from __future__ import annotations

from results.papers.bag_of_tricks import BAG_OF_TRICKS
from results.papers.strikes_back import STRIKES_BACK
from results.tables.spec import IMAGENET, Column, TableSpec

OWN_TABLES = (
    TableSpec(
        name="probes",
        file="probes",
        title="Probes: linear, nearest neighbours and fine-tuning of each backbone",
        row_heading="backbone",
        rows=(),
        columns=(),
        further_stages=("linear", "linear-sgd", "knn", "finetune"),
        random_last=True,
        found_metrics=("top1", "top5"),
    ),
    TableSpec(
        name="costs",
        file="costs",
        title="What each backbone's training cost",
        row_heading="backbone",
        rows=(),
        columns=tuple(
            Column(key, heading, IMAGENET, key, published=False, decimals=decimals)
            for key, heading, decimals in (
                ("params_m", "parameters (M)", 2),
                ("flops_g", "FLOPs (G)", 3),
                ("images_per_s", "images/s", 0),
                ("min_per_epoch", "min/epoch", 2),
                ("peak_memory_mb", "peak memory (MB)", 0),
                ("device_hours", "device-hours", 2),
            )
        ),
        further_stages=("pretrain",),
    ),
)

TABLES = (*BAG_OF_TRICKS, *STRIKES_BACK, *OWN_TABLES)
