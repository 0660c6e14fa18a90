"""Questions as OpenAI's protocol has them, made from rows as trainings have them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.answering.endpoint import Asking, Endpoint

#: Roles that chat templates have and the protocol has not.
_ROLES = {"model": "assistant", "function": "tool"}
CHAT, COMPLETION = "/chat/completions", "/completions"


@dataclass(frozen=True)
class Question:
    """What is asked: a text, or turns with the tools that may be called."""

    prompt: str | Sequence[Mapping[str, Any]]
    tools: Sequence[Any] = ()

    def request(self, endpoint: Endpoint, asking: Asking, again: int = 0) -> Request:
        """The request that asks it; where answers are drawn, `again` counts those drawn before."""
        prompt = self.prompt
        if isinstance(prompt, str):
            if asking.texts == "completion":
                text = {"model": endpoint.model, "prompt": prompt}
                return Request(endpoint, COMPLETION, text, asking, again)
            prompt = [{"role": "user", "content": prompt}]
        body: dict[str, Any] = {"model": endpoint.model, "messages": protocol_turns(prompt)}
        if self.tools:
            body["tools"] = [_protocol_tool(tool) for tool in self.tools]
        return Request(endpoint, CHAT, body, asking, again)


class Request:
    """A request's path and body, and the digest by which its answer is found again.

    Where answers are drawn (a temperature above 0), every further answer to the same question is a
    request of its own, with the next seed: else pass@k would see one answer k times.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        body: Mapping[str, Any],
        asking: Asking,
        again: int = 0,
    ) -> None:
        self.path = path
        self.body = {**body, **asking.fields()}
        # The address belongs to it: a tuned model and its base may go by the same name.
        whole: dict[str, Any] = {"base_url": endpoint.base_url, "path": path, "body": self.body}
        if again and asking.draws:
            whole["again"] = again
            if type(seed := self.body.get("seed")) is int:
                self.body["seed"] = seed + again
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        self.key = hashlib.sha256(text.encode()).hexdigest()


def protocol_turns(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turns with arguments as JSON text, and calls and their replies tied by ids.

    Rows of trainings have arguments as objects and mostly no ids. What a model thought in earlier
    turns is left out, as chat templates leave it out.
    """
    made: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []  # ids and names of calls that nobody has replied to
    count = 0
    for given in turns:
        role = str(given.get("role"))
        turn: dict[str, Any] = {"role": _ROLES.get(role, role), "content": given.get("content")}
        if given.get("name"):
            turn["name"] = given["name"]
        calls = given.get("tool_calls")
        if calls and isinstance(calls, Sequence):
            turn["tool_calls"] = [
                _protocol_call(call, count + number) for number, call in enumerate(calls)
            ]
            count += len(calls)
            waiting = [(one["id"], one["function"].get("name")) for one in turn["tool_calls"]]
        elif turn["content"] is None:
            turn["content"] = ""
        if turn["role"] == "tool":
            given_id = given.get("tool_call_id")
            named = [one for one in waiting if one[0] == given_id or one[1] == given.get("name")]
            for reply in (named or waiting)[:1]:
                waiting.remove(reply)
                turn["tool_call_id"] = reply[0]
            if given_id:
                turn["tool_call_id"] = given_id
        made.append(turn)
    return made


def _protocol_call(call: Any, number: int) -> dict[str, Any]:
    call = call if isinstance(call, Mapping) else {}
    function = call.get("function")
    function = dict(function) if isinstance(function, Mapping) else dict(call)
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": str(call.get("id") or f"call_{number}"),
        "type": "function",
        "function": {"name": str(function.get("name", "")), "arguments": text},
    }


def _protocol_tool(tool: Any) -> Any:
    """A tool as the protocol declares it: rows may have the bare function."""
    if isinstance(tool, Mapping) and "function" not in tool and "name" in tool:
        return {"type": "function", "function": dict(tool)}
    return tool
