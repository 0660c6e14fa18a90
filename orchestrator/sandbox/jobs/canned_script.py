"""Leaves what a merge or an export would have left, where its libraries are not at hand.

Run as a script in the place of `merge.py` or `export_*.py`, with their arguments. The files say
that they are no models.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

_NO_MODEL = "Nothing was made: this file of the sandbox stands for what a job would leave.\n"


def main(argv: Sequence[str]) -> None:
    """Write the file that the arguments name."""
    parser = argparse.ArgumentParser(prog="canned_script.py", allow_abbrev=False)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="model")
    for name in ("--adapter", "--model", "--outtype", "--kv-cache"):
        parser.add_argument(name)
    given = parser.parse_known_args(argv)[0]
    if given.adapter is not None:
        folder, file, about = given.output / "merged", "model.safetensors", "merge.json"
    else:
        folder, about = given.output, "export.json"
        file = f"{given.name}.{'gguf' if given.outtype else 'litertlm'}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(_NO_MODEL, encoding="utf-8")
    told = json.dumps({"canned": True, "file": file}, indent=2) + "\n"
    (given.output / about).write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
