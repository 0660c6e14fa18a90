"""Canned outputs in the place of what a job's script would do: nothing is trained or asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.sandbox.jobs.finishing import CANNED
from orchestrator.sandbox.jobs.made_up_answers import made_up_answers
from orchestrator.sandbox.jobs.recipe import lightened
from orchestrator.sandbox.jobs.stand_in import Files, Prepared, script_of
from orchestrator.sandbox.standins.base import StandInOptions

_SCRIPT = Path(__file__).with_name("replay_script.py")
#: The scripts that are not run, and what stands for their work.
_CANNED = {
    "sft.py": (
        "nothing was trained: a canned adapter of random numbers stands for the training's",
        "the losses were made up",
    ),
}
#: They would need a model.
_FINISHING = ("merge.py", "export_gguf.py", "export_litertlm.py")


class ReplayJobStandIn:
    """Implements `JobStandIn`. Whatever starts the script is run as it is, and keeps its output."""

    name = "replay"

    def __init__(self, _root: Path, options: StandInOptions) -> None:
        """Raises `InputError` for `answers` that only a model could give."""
        if options.answers == "real":
            raise InputError(
                "the stand-in replay has no model that could give real answers",
                hint="Take the stand-in tiny or smollm2, or answers that are good or weak.",
            )
        self._options = options

    def prepare(self, command: Sequence[str], files: Files) -> Prepared:  # noqa: ARG002
        """Let `uv run` of the script run the canned one."""
        made_up = made_up_answers(command, self._options.answers or "good")
        if made_up is not None:
            return made_up
        script = script_of(command)
        if script in _FINISHING:
            return Prepared(tuple(command), (f"{script}: nothing was made",), {script: CANNED})
        if script not in _CANNED:
            return Prepared(tuple(command))
        changed = tuple(command)
        lines: list[str] = []
        if script == "sft.py":
            changed, lines = lightened(changed, self._options)
        return Prepared(changed, (*_CANNED[script], *lines), {script: _SCRIPT})
