"""Renders the demo data: `python -m demo --out data/demo`; `--sheet sheet.png` for a preview."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from demo.render import ForeignFolderError, render
from demo.sheet import contact_sheet


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 2 if the output folder holds other files."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder to render into, for example data/demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sheet", type=Path, help="image of examples to write: sheet.png")
    options = parser.parse_args(arguments)
    if options.out is None and options.sheet is None:
        parser.error("give --out, --sheet or both")
    if options.seed < 0 or options.processes < 1:
        parser.error("--seed must be at least 0 and --processes at least 1")
    if options.sheet is not None:
        contact_sheet(options.seed).save(options.sheet)
        print(f"wrote {options.sheet}")
    if options.out is not None:
        start = time.perf_counter()
        try:
            manifest = render(options.out, seed=options.seed, processes=options.processes)
        except ForeignFolderError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        seconds = f"{time.perf_counter() - start:.0f} s"
        print(f"{options.out}: sha256 {manifest['sha256'][:16]}, {seconds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
