"""Gated repositories over the wire: asking for access, and giving or refusing it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.access_requests import (
    AccessRequest,
    Decision,
    load_requests,
    new_request,
    passes_as_member,
    remove_request,
    save_request,
)
from orchestrator.sandbox.hub.repos import Repo
from orchestrator.sandbox.hub.wire import HubError, hex_id, instant

_DECISIONS = ("pending", "accepted", "rejected")
_BATCH_LIMIT = 100
_REASON_LENGTH = 200


class _NotThere(Exception):
    """The user or the request that was named; `reason` as the batch says it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def ask(face: HubFace, call: Call) -> Response:
    """POST `/{id}/ask-access`, as the repository's page does: a form with further fields."""
    with face.repos.lock:
        repo = _gated(face.readable(call))
        account = call.need_account()
        if account.name in load_requests(face.repos, repo):
            raise HubError(400, "You have asked for access to this repository already")
        status: Decision = "accepted" if repo.gated == "auto" else "pending"
        request = new_request(account.name, status, face.clock.now())
        fields = _fields(call)
        save_request(face.repos, repo, request.model_copy(update={"fields": fields}))
    return JSONResponse({"status": request.status})


def cancel_own(face: HubFace, call: Call) -> Response:
    """POST `/user-access-request/cancel`: take one's own request back."""
    repo = _gated(face.readable(call))
    if not remove_request(face.repos, repo, call.need_account().name):
        raise HubError(404, "Access request not found")
    return PlainTextResponse("OK")


def listing(face: HubFace, call: Call) -> Response:
    """GET `/user-access-request/{status}`: a page of requests, the newest first."""
    status = call.params["status"]
    if status not in _DECISIONS:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    repo = _gated(face.writable(call))
    limit = max(10, call.number("limit", 1000, 1000))
    before, after = _moment(call, "before"), _moment(call, "after")
    found = [
        one
        for one in load_requests(face.repos, repo).values()
        if one.status == status
        and (before is None or one.asked_at < before)
        and (after is None or one.asked_at > after)
    ]
    found.sort(key=lambda one: one.asked_at, reverse=True)
    page = found[:limit]
    headers = {}
    if len(found) > limit:
        query = urlencode({"limit": limit, "before": _exact(page[-1].asked_at)})
        headers["Link"] = f'<{call.base_url}{call.path}?{query}>; rel="next"'
    return JSONResponse([_request_json(call, one) for one in page], headers=headers)


def handle(face: HubFace, call: Call) -> Response:
    """POST `/user-access-request/handle`: accept, reject or reset one request."""
    body = call.json()
    with face.repos.lock:
        repo = _gated(face.writable(call))
        try:
            changed = _decide(face, repo, body, body)
        except _NotThere as missing:
            raise HubError(404, missing.reason.replace("_", " ").capitalize()) from missing
        if not changed:
            raise HubError(404, f"The access request is {body['status']} already")
    return PlainTextResponse("OK")


def batch(face: HubFace, call: Call) -> Response:
    """POST `/user-access-request/batch`: the same decision on many requests."""
    body = call.json()
    named = body.get("requests")
    if not isinstance(named, list) or not 1 <= len(named) <= _BATCH_LIMIT:
        raise HubError(400, f'"requests" must be an array of 1 to {_BATCH_LIMIT}')
    answers = []
    with face.repos.lock:
        repo = _gated(face.writable(call))
        for one in named:
            who = one if isinstance(one, dict) else {}
            answer = {key: who[key] for key in ("userId", "user") if key in who}
            try:
                _decide(face, repo, who, body)
                answers.append({**answer, "ok": True})
            except _NotThere as missing:
                answers.append({**answer, "ok": False, "error": missing.reason})
    return JSONResponse(answers)


def grant(face: HubFace, call: Call) -> Response:
    """POST `/user-access-request/grant`: give access to somebody who need not have asked."""
    with face.repos.lock:
        repo = _gated(face.writable(call))
        try:
            user = _user(face, call.json())
        except _NotThere as missing:
            raise HubError(404, "User not found") from missing
        old = load_requests(face.repos, repo).get(user)
        members = [one for one in face.accounts.values() if one.name == user]
        if (old and old.status == "accepted") or any(passes_as_member(repo, m) for m in members):
            raise HubError(400, "This user has access already")
        at = face.clock.now()
        given = old or new_request(user, "accepted", at)
        update = {
            "status": "accepted",
            "reviewed_at": at,
            "granted_by": call.need_account().name,
        }
        save_request(face.repos, repo, given.model_copy(update=update))
    return JSONResponse({})


def _gated(repo: Repo) -> Repo:
    if repo.gated is None:
        raise HubError(400, f"The {repo.kind} {repo.id} is not gated")
    return repo


def _decide(face: HubFace, repo: Repo, who: dict[str, Any], decision: dict[str, Any]) -> bool:
    """Record a decision on one request; False if it was so already."""
    status, reason = decision.get("status"), decision.get("rejectionReason")
    if status not in _DECISIONS:
        raise HubError(400, f'"status" must be one of [{", ".join(_DECISIONS)}]')
    if reason is not None and (not isinstance(reason, str) or len(reason) > _REASON_LENGTH):
        raise HubError(400, f'"rejectionReason" must be at most {_REASON_LENGTH} characters')
    requests = load_requests(face.repos, repo)
    if "requestId" in who:
        by_id = {one.request_id: one for one in requests.values()}
        found = by_id.get(str(who["requestId"]))
    else:
        found = requests.get(_user(face, who))
    if found is None:
        raise _NotThere("request_not_found")
    update = {
        "status": status,
        "reviewed_at": None if status == "pending" else face.clock.now(),
        "rejection_reason": reason if status == "rejected" else None,
    }
    save_request(face.repos, repo, found.model_copy(update=update))
    return bool(found.status != status)


def _user(face: HubFace, who: dict[str, Any]) -> str:
    name, user_id = who.get("user"), who.get("userId")
    if name is None and user_id is None:
        raise HubError(400, "Either userId or user must be provided")
    for one in face.users:
        if name == one or (name is None and user_id == hex_id(f"user/{one}")):
            return one
    raise _NotThere("user_not_found")


def _fields(call: Call) -> dict[str, str]:
    if "json" in call.headers.get("content-type", ""):
        return {str(name): str(value) for name, value in call.json().items()}
    return dict(parse_qsl(call.body.decode("utf-8", "replace")))


def _moment(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise HubError(400, f'"{name}" must be a date and time') from error
    if moment and moment.tzinfo is None:
        raise HubError(400, f'"{name}" must have a time zone')
    return moment


def _exact(moment: datetime) -> str:
    """To the microsecond: two requests of one millisecond are still told apart."""
    return moment.isoformat().replace("+00:00", "Z")


def _request_json(call: Call, request: AccessRequest) -> dict[str, Any]:
    value: dict[str, Any] = {
        # The client cannot do without it, though the public description does not have it.
        "requestId": request.request_id,
        "user": {**_profile(call, request.user), "verifiedOrgNames": []},
        "status": request.status,
        "fields": request.fields,
        "timestamp": instant(request.asked_at),
    }
    if request.granted_by is None:
        value["user"]["email"] = f"{request.user}@users.noreply.huggingface.co"
    else:
        value["grantedBy"] = _profile(call, request.granted_by)
    if request.reviewed_at:
        value["reviewedAt"] = instant(request.reviewed_at)
    return value


def _profile(call: Call, name: str) -> dict[str, Any]:
    return {
        "_id": hex_id(f"user/{name}"),
        "avatarUrl": f"{call.base_url}/avatars/{name}.svg",
        "fullname": name,
        "isPro": False,
        "user": name,
        "type": "user",
    }
