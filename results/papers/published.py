"""The published values, as the papers print them: reads and checks one YAML file per paper."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from results.tables.paper_table import PublishedTable

PAPERS = ("bag-of-tricks", "strikes-back")
FOLDER = Path(__file__).parent


class _Paper(BaseModel):
    model_config = ConfigDict(extra="forbid")

    paper: str
    authors: str
    venue: str | int
    arxiv: str
    tables: dict[str, PublishedTable]


def read(path: Path) -> dict[str, PublishedTable]:
    """The tables of one paper, by the paper's table number.

    Raises:
        ValueError: the file is malformed; the message names the file, the table and the error.
    """
    try:
        return _Paper.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).tables
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def load() -> dict[str, PublishedTable]:
    """Every table of every paper, by paper and number: "bag-of-tricks/8", "strikes-back/5" ..."""
    return {
        f"{paper}/{number}": table
        for paper in PAPERS
        for number, table in read(FOLDER / f"{paper}.yaml").items()
    }
