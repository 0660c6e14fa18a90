"""The operations of the Jobs face, each a handler like those of the Hub face."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from orchestrator.sandbox.hub.access import Call, HubFace, endpoint
from orchestrator.sandbox.hub.reads import next_page
from orchestrator.sandbox.hub.wire import Account, HubError, hex_id
from orchestrator.sandbox.jobs.face import JobsFace
from orchestrator.sandbox.jobs.hardware import FLAVORS
from orchestrator.sandbox.jobs.logs import log_events
from orchestrator.sandbox.jobs.metrics import metric_events
from orchestrator.sandbox.jobs.records import JobRecord, Stage
from orchestrator.sandbox.jobs.requests import read_labels, read_request
from orchestrator.sandbox.jobs.volumes import check_volumes
from orchestrator.sandbox.jobs.wire import job_json

#: What the service has been seen to answer to accounts without credits.
NO_CREDITS = (
    "Pre-paid credit balance is insufficient - add more credits to your account to use Jobs."
)
_LABEL = re.compile(r"[a-zA-Z0-9._-]+=[a-zA-Z0-9._-]*")
#: The permission of fine-grained tokens, by the name that the settings page gives it.
_MAY_RUN = {"job.write"}
#: Operations that are described and not served, and why not.
UNSERVED = {
    "POST /api/jobs/{owner}/{job}/duplicate": "the values of secrets are not kept",
    "PUT /api/jobs/{owner}/{job}/expose": "ports are not exposed",
    "GET /api/jobs/{owner}/{job}/events": "there are no events beside the log",
    "GET /api/scheduled-jobs/{owner}": "jobs are not scheduled",
    "POST /api/scheduled-jobs/{owner}": "jobs are not scheduled",
    "POST /api/buckets/{rest:path}": "there are no buckets; mount a repository as a volume",
}
_Handle = Callable[[JobsFace, Call], Response]


def job_routes(face: JobsFace) -> list[Route]:
    """All operations, to be put among those of the Hub."""
    handlers: dict[str, _Handle] = {
        "GET /api/jobs/hardware": _hardware,
        "GET /api/jobs/{owner}": _listing,
        "POST /api/jobs/{owner}": _create,
        "GET /api/jobs/{owner}/count": _count,
        "POST /api/jobs/{owner}/auth-check/{perms}": _check,
        "GET /api/jobs/{owner}/{job}": _inspect,
        "POST /api/jobs/{owner}/{job}/auth-check/{perms}": _check,
        "POST /api/jobs/{owner}/{job}/cancel": _cancel,
        "PUT /api/jobs/{owner}/{job}/labels": _label,
        "GET /api/jobs/{owner}/{job}/logs": _logs,
        "GET /api/jobs/{owner}/{job}/metrics": _metrics,
        **{address: _unserved(why) for address, why in UNSERVED.items()},
    }
    return [_route(face, address, handler) for address, handler in handlers.items()]


def _route(face: JobsFace, address: str, handle: _Handle) -> Route:
    method, _, path = address.partition(" ")

    def handler(_hub: HubFace, call: Call) -> Response:
        return handle(face, call)

    return Route(path, endpoint(face.hub, handler, "model"), methods=[method])


def _hardware(face: JobsFace, _call: Call) -> Response:
    """GET `/api/jobs/hardware`: anybody may ask."""
    return JSONResponse([one.to_json() for name, one in FLAVORS.items() if _offers(face, name)])


def _create(face: JobsFace, call: Call) -> Response:
    """POST `/api/jobs/{owner}`: a new job, in SCHEDULING."""
    account, kind = _member(face, call, write=True)
    request, values, labels = read_request(call.json())
    if not _offers(face, request.flavor):
        raise HubError(400, f"flavor: {request.flavor} is not available")
    if not face.conduct.can_pay:
        raise HubError(402, NO_CREDITS)
    check_volumes(face.hub, account, request.volumes)

    def make(sequence: int, now: datetime) -> JobRecord:
        return JobRecord(
            sequence=sequence,
            id=secrets.token_hex(12),
            namespace=call.params["owner"],
            namespace_type=kind,
            creator=account.name,
            request=request,
            secret_names=tuple(values),
            labels=labels,
            created_at=now,
        )

    try:
        created = face.create(make, values)
    except OSError as error:
        raise HubError(500, f"The sandbox cannot write down the job: {error.strerror}") from error
    return _told(face, call, created)


def _listing(face: JobsFace, call: Call) -> Response:
    """GET `/api/jobs/{owner}`: the jobs that match all labels and any stage, newest first."""
    found = _matching(face, call)
    # Jobs come in at the front: a page goes on behind the last one that was seen.
    cursor = call.number("cursor", 2**53, 2**53)
    found = [one for one in found if one.sequence < cursor]
    page = found[: face.conduct.page_size]
    more = {"cursor": str(page[-1].sequence)} if len(found) > len(page) else None
    now = face.queue.clock.now()
    items = [job_json(one, now, call.base_url) for one in page]
    return JSONResponse(items, headers=next_page(call, more))


def _count(face: JobsFace, call: Call) -> Response:
    """GET `/api/jobs/{owner}/count`."""
    return JSONResponse({"count": len(_matching(face, call))})


def _inspect(face: JobsFace, call: Call) -> Response:
    """GET `/api/jobs/{owner}/{job}`: there at once, whatever lists show."""
    return _told(face, call, _job(face, call, write=False))


def _cancel(face: JobsFace, call: Call) -> Response:
    """POST `/cancel`: one that has ended stays as it is, which is assumed of the service."""
    record = _job(face, call, write=True)
    return _told(face, call, face.queue.cancel(record.id))


def _label(face: JobsFace, call: Call) -> Response:
    """PUT `/labels`: these in place of all others."""
    record = _job(face, call, write=True)
    return _told(face, call, face.queue.change(record.id, labels=read_labels(call.json())))


def _check(face: JobsFace, call: Call) -> Response:
    """POST `/auth-check/{perms}`: whether the token may read or run jobs there."""
    if call.params["perms"] not in ("read", "write"):
        raise HubError(400, "perms: must be read or write")
    write = call.params["perms"] == "write"
    account, kind = _member(face, call, write=write)
    if "job" in call.params:
        _job(face, call, write=write)
    owner = call.params["owner"]
    return JSONResponse(
        {
            "namespace": {"id": hex_id(f"{kind}/{owner}"), "name": owner},
            "user": {"id": hex_id(f"user/{account.name}"), "name": account.name},
        }
    )


def _logs(face: JobsFace, call: Call) -> Response:
    """GET `/logs`: from the beginning, or the last `tail` lines, and then what comes."""
    record = _job(face, call, write=False)
    tail = call.number("tail", 0, 10**15) if "tail" in call.query else None
    events = log_events(
        face.store.log_file(record.id),
        lambda: face.log_ends(record.id),
        face.wakers,
        keep_alive_s=face.conduct.keep_alive_s,
        tail=tail,
    )
    return StreamingResponse(events, media_type="text/event-stream")


def _metrics(face: JobsFace, call: Call) -> Response:
    """GET `/metrics`: a sample every second while the job runs; 406 once it has ended."""
    record = _job(face, call, write=False)
    if record.ended:
        raise HubError(406, "The job has ended")
    events = metric_events(record, lambda: face.log_ends(record.id), face.wakers)
    return StreamingResponse(events, media_type="text/event-stream")


def _unserved(why: str) -> _Handle:
    def refuse(_face: JobsFace, call: Call) -> Response:
        call.need_account()
        raise HubError(501, f"The sandbox does not serve this: {why}")

    return refuse


def _offers(face: JobsFace, flavor: str) -> bool:
    return face.conduct.flavors is None or flavor in face.conduct.flavors


def _told(face: JobsFace, call: Call, record: JobRecord) -> Response:
    return JSONResponse(job_json(record, face.queue.clock.now(), call.base_url))


def _member(face: JobsFace, call: Call, *, write: bool) -> tuple[Account, Literal["user", "org"]]:
    """Who asks, and what the namespace is; refuses who may not. The wording is assumed."""
    account, owner = call.need_account(), call.params["owner"]
    orgs = {org for one in face.hub.accounts.values() for org in one.orgs}
    if owner not in face.hub.users | orgs:
        raise HubError(404, f"The namespace {owner} does not exist")
    role = account.role_in(owner)
    if role == "":
        raise HubError(403, f"You have no access to the jobs of {owner}")
    if not account.granted("model", f"{owner}/", _MAY_RUN):
        raise HubError(403, "Forbidden: the token needs the permission job.write")
    if write and account.role == "read":
        raise HubError(403, "Forbidden: you must use a write token to run jobs")
    if write and role not in ("admin", "write", "contributor"):
        raise HubError(403, f"Your role in {owner} does not let you run jobs")
    return account, "user" if owner in face.hub.users else "org"


def _job(face: JobsFace, call: Call, *, write: bool) -> JobRecord:
    _member(face, call, write=write)
    record = face.queue.get(call.params["job"])
    if record is None or record.namespace != call.params["owner"]:
        raise HubError(404, "Job not found")
    return record


def _matching(face: JobsFace, call: Call) -> list[JobRecord]:
    """The jobs that a list shows, by the query."""
    _member(face, call, write=False)
    stages, labels = call.query.getlist("stage"), call.query.getlist("label")
    for stage in stages:
        if stage not in list(Stage):
            raise HubError(400, f"stage: must be one of {', '.join(Stage)}")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise HubError(400, "label: must be key=value")
    wanted = [label.partition("=")[::2] for label in labels]
    now, lag_s = face.queue.clock.now(), face.conduct.visibility_lag_s
    return [
        one
        for one in face.jobs()
        if one.namespace == call.params["owner"]
        and (now - one.created_at).total_seconds() >= lag_s
        and (not stages or one.stage in stages)
        and all(one.labels.get(key) == value for key, value in wanted)
    ]
