"""Answers that are made up from what is expected, where a model's own would mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.sandbox.jobs.stand_in import Prepared, script_of, with_value
from orchestrator.sandbox.standins.base import Answers

_SCRIPT = Path(__file__).with_name("answers_script.py")
_SHARES = {
    "good": "right for 9 of 10 rows after tuning, else for 3 of 10",
    "weak": "right for 3 of 10 rows, after tuning too",
}

_NO_LOSSES = "losses of the expected answers: not measured, as no model answers"


def made_up_answers(command: Sequence[str], answers: Answers) -> Prepared | None:
    """What becomes of a command of `generate.py`; None for all else, and for `real` answers."""
    if answers == "real" or script_of(command) != "generate.py":
        return None
    line = f"answers: made up from what is expected ({_SHARES[answers]}), not generated"
    told = (line, _NO_LOSSES) if "--likelihood" in command else (line,)
    return Prepared(with_value(command, "--answers", answers), told, {"generate.py": _SCRIPT})
