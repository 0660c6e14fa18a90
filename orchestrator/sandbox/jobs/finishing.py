"""Merges and exports on a machine that may lack what they need."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.sandbox.jobs.stand_in import Prepared, script_of, value_of

CANNED = Path(__file__).with_name("canned_script.py")
#: What each export script imports that the sandbox does not install, and where it comes from.
_LIBRARIES: Mapping[str, tuple[str, str]] = {
    "export_gguf.py": ("convert_hf_to_gguf", "convert-hf-to-gguf"),
    "export_litertlm.py": ("litert_torch", "litert-torch"),
}


def done_without(command: Sequence[str]) -> Prepared | None:
    """What becomes of a command that a stand-in for a base model has nothing to do with.

    An export whose library is missing leaves a file that says so; what names no model of the Hub
    (an export of a folder, a model that an earlier job made) runs as it is. None for all else.
    """
    asked, script = value_of(command, "--base-model"), script_of(command)
    package = _missing_library(script)
    if script is not None and package is not None:
        return Prepared(tuple(command), (_canned_line(script, package),), {script: CANNED})
    if asked is None or script is None or Path(asked).is_absolute():
        return Prepared(tuple(command))
    return None


def _missing_library(script: str | None) -> str | None:
    """The package that a script needs and this Python does not have."""
    module, package = _LIBRARIES.get(script or "", ("", ""))
    return package if module and importlib.util.find_spec(module) is None else None


def _canned_line(script: str, package: str) -> str:
    """What is told of an export that could not be made."""
    return (
        f"{script}: no export was made, for {package} is not installed here; a file that says so "
        "stands for it"
    )
