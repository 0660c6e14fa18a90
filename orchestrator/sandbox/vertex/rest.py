"""The REST side of the Vertex face: the same methods as JSON over HTTP, as Google transcodes them.

`/v1beta1/` has all fields; `/v1/` has the fewer ones of that version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import anyio.from_thread
import orjson
from google.cloud.aiplatform_v1beta1 import types
from google.protobuf import json_format  # type: ignore[import-untyped]  # it has no stubs
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.waiting import Waiting
from orchestrator.sandbox.vertex.calls import Answer, Calls, Dropped
from orchestrator.sandbox.vertex.conduct import Method
from orchestrator.sandbox.vertex.refusals import Rejected, invalid, no_such_method, not_served

_PATH = re.compile(
    r"/(?P<version>v1|v1beta1)/(?P<parent>projects/[^/]+/locations/[^/]+)/tuningJobs"
    r"(?:/(?P<id>[^/:]+))?(?P<verb>:\w+)?"
)
#: Parameters of every method of Google's APIs.
_STANDARD = frozenset({"alt", "$alt", "key", "fields", "prettyPrint", "quotaUser", "$.xgafv"})
_LIST = {"filter": "filter", "pageSize": "page_size", "pageToken": "page_token"}


@dataclass(frozen=True)
class _Call:
    """A request, read: the method, its message, and the form of the answer."""

    method: Method
    message: Any
    version: str
    enums_as_numbers: bool

    def to_json(self, message: Any) -> bytes:
        """An answer as JSON, without the fields that the version does not have."""
        if message is None:
            return b"{}"
        if self.version == "v1":
            from google.cloud.aiplatform_v1 import types as v1

            kind = getattr(v1, message.DESCRIPTOR.name).pb()
            message = kind.FromString(message.SerializeToString())
        value = json_format.MessageToDict(message, use_integers_for_enums=self.enums_as_numbers)
        return orjson.dumps(value, option=orjson.OPT_INDENT_2)


class RestApp:
    """ASGI app over `calls`."""

    def __init__(self, calls: Calls, clock: SandboxClock) -> None:
        self._calls = calls
        self._waiting = Waiting(clock)

    def close(self) -> None:
        """End all stalls, so that the server can stop."""
        self._waiting.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)

        def until_gone() -> None:
            anyio.from_thread.run(self._waiting.until_gone, receive)

        try:
            status, content, keep_bytes = await run_in_threadpool(
                self._answer, scope, body, until_gone
            )
        except Dropped:
            await _hang_up(receive, send)
            return
        await _respond(send, status, content, keep_bytes)
        if keep_bytes is not None:
            await _hang_up(receive, send)

    def _answer(
        self, scope: Scope, body: bytes, until_gone: Callable[[], None]
    ) -> tuple[int, bytes, int | None]:
        """Status, body, and after how many bytes of it the connection is cut."""
        try:
            call = _read(scope, body)
            answer: Answer = self._calls.answer(call.method, call.message, until_gone)
        except Rejected as rejected:
            return rejected.http_status, orjson.dumps(rejected.to_json()), None
        content = answer.corrupted(call.to_json(answer.message))
        return 200, content, answer.cut_after_bytes


def _read(scope: Scope, body: bytes) -> _Call:
    match = _PATH.fullmatch(scope["path"])
    if match is None:
        raise no_such_method(scope["path"])
    parent, name = match["parent"], f"{match['parent']}/tuningJobs/{match['id']}"
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    verb, http_method = match["verb"] or "", scope["method"]
    method: Method
    match (http_method, match["id"] is not None, verb):
        case ("POST", False, ""):
            method = "create"
            message = types.CreateTuningJobRequest.pb()(
                parent=parent, tuning_job=_tuning_job(body, match["version"])
            )
        case ("GET", False, ""):
            method, message = "list", _list_request(parent, query)
        case ("GET", True, ""):
            method, message = "get", types.GetTuningJobRequest.pb()(name=name)
        case ("POST", True, ":cancel"):
            _json(body)
            method, message = "cancel", types.CancelTuningJobRequest.pb()(name=name)
        case ("POST", False, _):
            raise not_served(f"tuningJobs{verb}")
        case _:
            raise no_such_method(f"{http_method} {scope['path']}")
    known = _STANDARD | (_LIST.keys() if method == "list" else set())
    for parameter in query.keys() - known:
        raise _unknown_name(parameter)
    forms = str(query.get("$alt") or query.get("alt", "json")).split(";")
    return _Call(method, message, match["version"], "enum-encoding=int" in forms)


def _tuning_job(body: bytes, version: str) -> Any:
    """The job in a request's body, read by the fields of the version."""
    kind = types.TuningJob
    if version == "v1":
        from google.cloud.aiplatform_v1.types import TuningJob as JobOfV1

        kind = JobOfV1
    try:
        job = json_format.ParseDict(_json(body), kind.pb()())
    except json_format.ParseError as error:
        raise invalid("tuning_job", f"Invalid JSON payload received. {error}") from None
    return types.TuningJob.pb().FromString(job.SerializeToString())


def _list_request(parent: str, query: dict[str, str]) -> Any:
    values = {_LIST[key]: value for key, value in query.items() if key in _LIST}
    try:
        size = int(values.pop("page_size", "0"))
        return types.ListTuningJobsRequest.pb()(parent=parent, page_size=size, **values)
    except ValueError:
        raise invalid("page_size", "The page size is not a number.") from None


def _json(body: bytes) -> Any:
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"Invalid JSON payload received. {error}") from None
    if not isinstance(value, dict):
        raise invalid("body", "Invalid JSON payload received. It is not an object.")
    return value


def _unknown_name(name: str) -> Rejected:
    return invalid(
        name, f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
    )


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _respond(send: Send, status: int, content: bytes, keep_bytes: int | None) -> None:
    headers = [
        (b"content-type", b"application/json; charset=UTF-8"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    cut = keep_bytes is not None
    await send(
        {
            "type": "http.response.body",
            "body": content[:keep_bytes] if cut else content,
            "more_body": cut,
        }
    )


async def _hang_up(receive: Receive, send: Send) -> None:
    """Close the connection. ASGI has no message for it, so uvicorn's transport is asked."""
    send_of_server = getattr(send, "__self__", None)
    transport = getattr(send_of_server, "transport", None)
    if transport is None:
        raise ConnectionError("the server cannot close a connection")
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
