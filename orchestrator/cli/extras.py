"""Says which extra to install, before anything is begun that needs it."""

from __future__ import annotations

import importlib.util

from orchestrator.errors import InputError


def need_sandbox_extra(*, trains: bool) -> None:
    """Raise unless the sandbox can run here; `trains` asks for the training libraries too."""
    modules = ["starlette", "uvicorn"] + (
        ["torch", "transformers", "peft", "trl"] if trains else []
    )
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        # Without the first two there is no rehearsal at all; the others only train.
        light = "" if missing[0] in modules[:2] else " A rehearsal without: --stand-in replay."
        raise InputError(
            f"the sandbox needs {', '.join(missing)}",
            hint=f"Install them: pip install 'orchestrator[sandbox]'.{light}",
        )
