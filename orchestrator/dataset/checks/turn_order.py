"""The order of turns: prompts of the system first, then user and assistant in turn."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.dataset.example import Message

_HINT = (
    "Templates want system or developer first, then user and assistant in turn, and replies of "
    "tools only after calls."
)


def turn_problem(messages: Sequence[Message]) -> tuple[str, str] | None:
    """What is wrong with the order of the turns (message and hint); None if nothing is."""
    state = "start"
    for index, message in enumerate(messages):
        state, problem = _next(state, message)
        if problem:
            return f"messages[{index}]: {problem}", _HINT
    if state not in {"assistant", "calling"}:
        last = messages[-1].role if messages else "nobody"
        hint = "The last turn is what the model must answer: it must be the assistant's."
        return f"the chat ends with the turn of {last}", hint
    return None


def _next(state: str, message: Message) -> tuple[str, str]:
    """The state after a turn, and what is wrong with it."""
    role = message.role
    if role in {"system", "developer"}:
        return state, "" if state == "start" else f"a {role} prompt after the chat has begun"
    if role == "user":
        if state == "user":
            return state, "two turns of the user without an answer between them"
        if state == "calling":
            return state, "the user speaks before the tool that was called has replied"
        return "user", ""
    if role == "tool":
        wrong = "" if state in {"calling", "replied"} else "a tool replies that was not called"
        return "replied", wrong
    if role == "assistant":
        if state == "start":
            return state, "the assistant speaks before the user"
        if state in {"assistant", "calling"}:
            return state, "two turns of the assistant in a row"
        return "calling" if message.calls else "assistant", ""
    return state, f"there is no role {role!r}"
