"""Lists of models and datasets: filtered, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.descriptions import describe, tags_of, wanted_properties
from orchestrator.sandbox.hub.reads import next_page
from orchestrator.sandbox.hub.repos import MAIN, Commit, Repo
from orchestrator.sandbox.hub.wire import HubError

_PAGE = 1000
#: What a list tells of each repository; `full` and `cardData` add to it.
_SHORT = {
    "model": "createdAt downloads library_name likes pipeline_tag private tags trendingScore",
    "dataset": "author createdAt disabled downloads gated lastModified likes private sha tags "
    "trendingScore description",
}
_FULL = {
    "model": "author disabled gated lastModified sha siblings",
    "dataset": "cardData siblings",
}
_SORTS = ("createdAt", "downloads", "lastModified", "likes", "trendingScore")


@dataclass(frozen=True)
class _Listed:
    """A repository and the latest commit of its main branch."""

    repo: Repo
    commit: Commit

    def key(self, sort: str) -> tuple[str, str]:
        # Nobody downloads or likes anything here: all are equal, and come by their names.
        date = {"createdAt": self.repo.created_at, "lastModified": self.commit.date}.get(sort)
        return (date.isoformat() if date else "", self.repo.id)


def all_of(face: HubFace, call: Call) -> Response:
    """GET `/api/models`: the visible repositories that match, by `filter`, `author`, `search`."""
    with face.repos.lock:  # or a repository is deleted while it is described
        return _page(face, call, list(_matching(face, call)))


def _page(face: HubFace, call: Call, found: list[_Listed]) -> Response:
    sort = call.query.get("sort", "")
    if sort and sort not in _SORTS:
        raise HubError(400, f'"sort" must be one of [{", ".join(_SORTS)}]')
    if sort:
        found.sort(key=lambda one: one.key(sort), reverse=call.query.get("direction", "-1") == "-1")
    start = call.number("cursor", 0, 10**9) + call.number("skip", 0, 10**9)
    limit = min(call.number("limit", _PAGE, 10**9, least=1), _PAGE)
    more = {"cursor": str(start + limit)} if start + limit < len(found) else None
    names = _names(call)
    items = [describe(face, one.repo, one.commit, names) for one in found[start : start + limit]]
    return JSONResponse(items, headers=next_page(call, more))


def _names(call: Call) -> frozenset[str]:
    asked = wanted_properties(call)
    if asked:
        return asked
    names = _SHORT[call.kind].split()
    names += _FULL[call.kind].split() if call.flag("full") else []
    names += ["cardData"] if call.flag("cardData") else []
    names += ["config"] if call.flag("config") else []
    return frozenset(names)


def _matching(face: HubFace, call: Call) -> Iterator[_Listed]:
    words = [word.lower() for word in call.query.getlist("search")]
    author, pipeline_tag = call.query.get("author"), call.query.get("pipeline_tag")
    wanted = [tag for text in call.query.getlist("filter") for tag in text.split(",") if tag]
    gated = call.query.get("gated")
    for repo in face.repos.all():
        if repo.kind != call.kind or not call.sees(repo):
            continue
        if author not in (None, repo.id.split("/")[0]):
            continue
        if not all(word in repo.id.lower() for word in words):
            continue
        one = _Listed(repo, face.repos.resolve(repo, MAIN))
        value: dict[str, Any] = {}
        if pipeline_tag or gated:
            value = describe(face, repo, one.commit, ("pipeline_tag", "gated"))
        if pipeline_tag and value.get("pipeline_tag") != pipeline_tag:
            continue
        if gated and (gated.lower() == "true") != bool(value["gated"]):
            continue
        if wanted and not set(wanted) <= {*tags_of(face, repo, one.commit)}:
            continue
        yield one
