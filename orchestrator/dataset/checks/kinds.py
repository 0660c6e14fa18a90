"""The check of each kind, imported when it is wanted: some bring heavy libraries."""

from __future__ import annotations

import importlib

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.rules import KINDS, Rules
from orchestrator.errors import InputError

_CLASSES = {
    "form": "FormCheck",
    "length": "LengthCheck",
    "template": "TemplateCheck",
    "duplicates": "DuplicatesCheck",
    "leaks": "LeaksCheck",
    "service": "ServiceCheck",
    "privacy": "PrivacyCheck",
    "balance": "BalanceCheck",
}


def make_check(kind: str, rules: Rules) -> Check:
    """A new check of this kind; raises `InputError` for a kind that there is not."""
    if kind not in _CLASSES:
        raise InputError(f"there is no kind of check {kind!r}", hint=f"Kinds: {', '.join(KINDS)}.")
    module = importlib.import_module(f"orchestrator.dataset.checks.{kind}")
    check = getattr(module, _CLASSES[kind])(rules)
    assert isinstance(check, Check)  # noqa: S101 (a slip in the table above, not in the input)
    return check
