"""Holds every reply of the Hub face to the Hub's public description of its API.

`Judge` is an ASGI middleware: what departs from the description is noted, and the fixture in
`tests/conftest.py` fails the test that caused it. Where the public description has no schema,
those of `hub_schemas.py` are used, from the other public documents that are named there.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.sandbox.hub.schemas import OTHER_OPERATIONS

_JSON = ("application/json", "application/vnd.git-lfs+json")


@dataclass(frozen=True)
class Amendment:
    """A property that the description lacks at a place, and why that cannot be right.

    `place` leads into the schema of the reply, `operation` ends like the address it is about.
    """

    operation: str
    place: tuple[str, ...]
    properties: Mapping[str, Any]
    reason: str


AMENDMENTS = (
    Amendment(
        "/tree/{rev}/{path}",
        ("items", "properties"),
        {"path": {"type": "string"}},
        "huggingface_hub reads the path of every item of a tree",
    ),
    Amendment(
        "/paths-info/{rev}",
        ("items", "properties", "lfs", "properties"),
        {"oid": {"type": "string"}, "size": {"type": "number"}},
        "huggingface_hub reads the digest and the size of an LFS file",
    ),
    Amendment(
        "/user-access-request/{status}",
        ("items", "properties"),
        {"requestId": {"type": "string"}},
        "huggingface_hub reads the id of every request",
    ),
    Amendment(
        "/api/collections/{namespace}/{slug}",
        ("properties",),
        {"success": {"const": True}},
        "the description of a change itself requires it",
    ),
    Amendment(
        "/discussions/{num}",
        ("allOf", "1", "properties"),
        {"diff": {"type": "string"}},
        "huggingface_hub reads what a pull request changes, which it asks for with diff=1",
    ),
    *(
        Amendment(
            "/discussions/{num}",
            (
                *("allOf", "0", "anyOf", kind, "properties", "events", "items", "anyOf", "0"),
                *("properties", "data", "properties"),
            ),
            {"history": {"type": "array"}},
            "huggingface_hub gives the earlier versions of a comment (edit_history)",
        )
        for kind in ("0", "1")
    ),
)


@dataclass(frozen=True)
class Operation:
    """One method at one address. `replies` has a schema, or None, for each described status."""

    method: str
    template: str
    replies: Mapping[int, Any] = field(hash=False, compare=False)
    request: Any = field(default=None, hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    def matches(self, method: str, path: str) -> bool:
        """Whether a request (with its path as it was sent) is for this operation."""
        return method == self.method and _pattern(self.template).fullmatch(path) is not None


@dataclass
class Record:
    """What the judge saw since the process began; `departures` since the test began.

    `served` says how much of the description the face serves, once a test has counted it.
    """

    departures: list[str] = field(default_factory=list)
    judged: set[Operation] = field(default_factory=set)
    replies: int = 0
    served: str = ""


RECORD = Record()


@cache
def description() -> dict[str, Any] | None:
    """The Hub's public description; None where the data is not at hand."""
    folder = os.environ.get("ORCHESTRATOR_DATA")
    if not folder:
        return None
    file = Path(folder) / "hub-openapi/openapi.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


@cache
def public_operations() -> tuple[Operation, ...]:
    """The operations of the public description; none where the data is not at hand."""
    document = description()
    return tuple(_operations(document)) if document else ()


@cache
def operations() -> tuple[Operation, ...]:
    """What replies are held to, the most exact address first."""
    other = [
        Operation(method, template, replies)
        for (method, template), replies in OTHER_OPERATIONS.items()
    ]
    # The public description comes first where both know an operation.
    known = [*public_operations(), *other]
    return tuple(sorted(known, key=lambda one: one.template.count("{")))


def operation_for(method: str, path: str) -> Operation | None:
    """The operation that a request is for, or None if no description has it."""
    method = "GET" if method == "HEAD" else method
    return next((one for one in operations() if one.matches(method, path)), None)


def judge(method: str, path: str, status: int, reply: Any, request: Any = None) -> Iterable[str]:
    """What is wrong with one successful answer, as sentences."""
    operation = operation_for(method, path)
    if operation is None:
        return
    RECORD.replies += 1
    RECORD.judged.add(operation)
    if status not in operation.replies:
        if operation.replies:
            yield f"{operation} answers {status}, which the description does not know"
    elif operation.replies[status] is not None:
        for error in _validator(operation, status).iter_errors(reply):
            yield f"{operation} {status}: {error.json_path}: {error.message[:300]}"
    if request is not None and operation.request is not None:
        for error in jsonschema.Draft202012Validator(operation.request).iter_errors(request):
            yield f"{operation} took what the description refuses: {error.message[:300]}"


class Judge:
    """Passes everything on, and notes the replies that depart from the description."""

    def __init__(self, app: ASGIApp, record: Record = RECORD) -> None:
        self._app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked, answered, about = bytearray(), bytearray(), {"status": 0, "json": False}

        async def hear() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                kind = headers.get(b"content-type", b"").decode().partition(";")[0]
                about["status"], about["json"] = message["status"], kind in _JSON
            elif about["json"]:
                answered.extend(message.get("body", b""))
                # Noted before the client has the reply, or the test could be over by then.
                if not message.get("more_body") and scope["method"] != "HEAD":
                    self._note(scope, int(about["status"]), bytes(asked), bytes(answered))
            await send(message)

        sent_json = dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/json")
        await self._app(scope, hear if sent_json else receive, tell)

    def _note(self, scope: Scope, status: int, asked: bytes, answered: bytes) -> None:
        path = scope["raw_path"].decode("ascii").partition("?")[0]
        reply = json.loads(answered)
        if status >= 400:
            if not isinstance(reply.get("error"), str):
                self._record.departures.append(f"{path} {status} has no error: {reply}")
            return
        request = json.loads(asked) if asked else None
        self._record.departures += judge(scope["method"], path, status, reply, request)


def _operations(document: dict[str, Any]) -> Iterable[Operation]:
    for template, methods in document["paths"].items():
        for method, about in methods.items():
            if method == "parameters":
                continue
            replies = {
                int(status): _amended(template, _schema(document, reply))
                for status, reply in about.get("responses", {}).items()
            }
            request = _schema(document, about.get("requestBody", {}))
            yield Operation(method.upper(), template, replies, request)


def _schema(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any] | None:
    found = part.get("content", {}).get("application/json", {}).get("schema")
    # References lead to "#/components/...", so what they lead to goes along.
    return {**found, "components": document["components"]} if found else None


def _amended(template: str, schema: dict[str, Any] | None) -> dict[str, Any] | None:
    for one in AMENDMENTS:
        if schema is not None and template.endswith(one.operation):
            schema = copy.deepcopy(schema)
            place: Any = schema
            for step in one.place:
                place = place[int(step) if isinstance(place, list) else step]
            place.update(one.properties)
    closed: dict[str, Any] | None = _possible(schema)
    return closed


def _possible(schema: Any) -> Any:
    """The schema with every `allOf` closed as a whole.

    In the description each member of an `allOf` is closed by itself, so that no value with
    properties of two members could satisfy it.
    """
    if isinstance(schema, list):
        return [_possible(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _possible(value) for name, value in schema.items()}
    if "allOf" in found:
        found |= {"allOf": [_open(one) for one in found["allOf"]], "unevaluatedProperties": False}
    return found


def _open(member: dict[str, Any]) -> dict[str, Any]:
    choices = {"anyOf": [_open(one) for one in member["anyOf"]]} if "anyOf" in member else {}
    return {name: one for name, one in member.items() if name != "additionalProperties"} | choices


@cache
def _validator(operation: Operation, status: int) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(operation.replies[status])


@cache
def _pattern(template: str) -> re.Pattern[str]:
    pattern = re.sub(r"\\\{repoType\\\}", "(?:models|datasets)", re.escape(template))
    # A folder at the top has no path: the description's address ends before it then.
    pattern = re.sub(r"/\\\{path\\\}$", "(?:/.*)?", pattern)
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", pattern))
