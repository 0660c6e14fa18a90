"""Collections over the wire: lists of models and datasets with a title."""

from __future__ import annotations

import html
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import KINDS, Call, HubFace
from orchestrator.sandbox.hub.collection_records import Collection, Item
from orchestrator.sandbox.hub.descriptions import describe
from orchestrator.sandbox.hub.reads import next_page
from orchestrator.sandbox.hub.repos import MAIN, Repo
from orchestrator.sandbox.hub.wire import Account, HubError, hex_id, instant, repo_missing

_THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
_SORTS = ("upvotes", "lastModified", "trending")
_TYPES = ("paper", "collection", "space", "model", "dataset", "bucket")
#: A list shows no more of each collection than this.
_LISTED_ITEMS = 4
_PAGE, _LARGEST_PAGE = 10, 100
_LENGTHS = {"title": 60, "description": 150, "note": 500}
_READ, _WRITE = "collection.read", "collection.write"


def listing(face: HubFace, call: Call) -> Response:
    """GET `/api/collections`: a page of those that can be seen, by owner, item and words."""
    if call.query.get("sort", "trending") not in _SORTS:
        raise HubError(400, f'"sort" must be one of [{", ".join(_SORTS)}]')
    owners, wanted = call.query.getlist("owner"), set(call.query.getlist("item"))
    words = call.query.get("q", "").lower()
    found = [
        one
        for one in face.collections.all()
        if _sees(call.account, one)
        and (not owners or one.owner in owners)
        and words in one.title.lower()
        and (not wanted or wanted & {f"{item.type}s/{item.id}" for item in one.items})
    ]
    limit = min(call.number("limit", _PAGE, 10_000, least=1), _LARGEST_PAGE)
    start = call.number("cursor", 0, 10**9)
    more = {"cursor": str(start + limit)} if start + limit < len(found) else None
    page = [_summary(face, call, one) for one in found[start : start + limit]]
    return JSONResponse(page, headers=next_page(call, more))


def details(face: HubFace, call: Call) -> Response:
    """GET `/api/collections/{slug}`: the collection with all items that can be seen."""
    return JSONResponse(_details(face, call, _readable(face, call)))


def create(face: HubFace, call: Call) -> Response:
    """POST `/api/collections`: a new one, or 409 with the name of the one of this title."""
    account, body = call.need_account(), call.json()
    owner, title = body.get("namespace"), _text(body, "title")
    if not isinstance(owner, str) or title is None:
        raise HubError(400, '"title" and "namespace" are required')
    _need_writer(account, owner)
    if body.get("resourceGroupId") is not None:
        raise HubError(501, "Resource groups are not served")
    with face.collections.lock:
        for one in face.collections.all():
            if (one.owner, one.title) == (owner, title):
                raise HubError(409, "There is a collection of this title", slug=one.slug)
        first = _items(face, call, [body["item"]] if body.get("item") else [])
        made = face.collections.create(
            owner,
            title,
            description=_text(body, "description"),
            private=bool(body.get("private", False)),
        )
        if first:
            made = face.collections.save(made.model_copy(update={"items": first}))
    return JSONResponse(_details(face, call, made))


def change(face: HubFace, call: Call) -> Response:
    """PATCH `/api/collections/{slug}`: title, description, visibility, theme, position."""
    body = call.json()
    if body.get("gating"):
        raise HubError(501, "Gated collections are not served")
    update: dict[str, Any] = {}
    for name in ("title", "description"):
        if name in body:
            update[name] = _text(body, name)
    if "private" in body:
        update["private"] = _checked(body, "private", isinstance(body["private"], bool))
    if "theme" in body:
        update["theme"] = _checked(body, "theme", body["theme"] in _THEMES)
    if "position" in body:
        update["position"] = _position(body)
    with face.collections.lock:
        changed = face.collections.save(_writable(face, call).model_copy(update=update))
    return JSONResponse({"success": True, "data": _details(face, call, changed)})


def delete(face: HubFace, call: Call) -> Response:
    """DELETE `/api/collections/{slug}`."""
    with face.collections.lock:
        face.collections.delete(_writable(face, call))
    return PlainTextResponse("OK")


def add_item(face: HubFace, call: Call) -> Response:
    """POST `/items`: one more item at the end; 409 if it is there already."""
    body = call.json()
    with face.collections.lock:
        collection = _writable(face, call)
        (item,) = _items(face, call, [body.get("item")], _text(body, "note"))
        if any((one.type, one.id) == (item.type, item.id) for one in collection.items):
            raise HubError(409, f"{item.id} is in this collection already")
        items = (*collection.items, item)
        changed = face.collections.save(collection.model_copy(update={"items": items}))
    return JSONResponse(_details(face, call, changed))


def change_item(face: HubFace, call: Call) -> Response:
    """PATCH `/items/{item}`: its note, and its place among the others."""
    body = call.json()
    with face.collections.lock:
        collection = _writable(face, call)
        item = _item(collection, call)
        others = [one for one in collection.items if one != item]
        place = _position(body) if "position" in body else collection.items.index(item)
        if "note" in body:
            item = item.model_copy(update={"note": _text(body, "note")})
        others.insert(place, item)
        face.collections.save(collection.model_copy(update={"items": tuple(others)}))
    return JSONResponse({"success": True})


def delete_item(face: HubFace, call: Call) -> Response:
    """DELETE `/items/{item}`: what it shows stays."""
    with face.collections.lock:
        collection = _writable(face, call)
        gone = _item(collection, call)
        items = tuple(one for one in collection.items if one != gone)
        face.collections.save(collection.model_copy(update={"items": items}))
    return JSONResponse({"success": True})


def _missing() -> HubError:
    return HubError(404, "Collection not found")


def _sees(account: Account | None, collection: Collection) -> bool:
    if not collection.private:
        return True
    owner = collection.owner
    return (
        account is not None
        and account.role_in(owner) != ""
        and account.granted("collection", f"{owner}/", {_READ, _WRITE})
    )


def _need_writer(account: Account, owner: str) -> None:
    by_role = account.role_in(owner) in ("admin", "write", "contributor")
    granted = account.granted("collection", f"{owner}/", {_WRITE})
    if account.role == "read" or not by_role or not granted:
        raise HubError(403, f'This token may not change collections of "{owner}"')


def _readable(face: HubFace, call: Call) -> Collection:
    found = face.collections.get(f"{call.params['ns']}/{call.params['slug']}")
    if found is None or not _sees(call.account, found):
        raise _missing()
    return found


def _writable(face: HubFace, call: Call) -> Collection:
    found, account = _readable(face, call), call.need_account()
    _need_writer(account, found.owner)
    return found


def _item(collection: Collection, call: Call) -> Item:
    wanted = call.params["item"]
    found = next((one for one in collection.items if one.hex_id == wanted), None)
    if found is None:
        raise HubError(404, "Item not found")
    return found


def _items(
    face: HubFace, call: Call, wanted: Iterable[Any], note: str | None = None
) -> tuple[Item, ...]:
    """Items as a request names them, which must be there and to be seen."""
    made = []
    for one in wanted:
        kind, name = (one.get("type"), one.get("id")) if isinstance(one, dict) else (None, None)
        if kind not in _TYPES or not isinstance(name, str):
            raise HubError(400, f'"item" needs an id, and a type of [{", ".join(_TYPES)}]')
        if kind not in KINDS:
            raise HubError(501, f"Items of type {kind!r} are not served")
        repo = face.repos.get(kind, name)
        if repo is None or not call.sees(repo):
            raise repo_missing(call.account)
        made.append(Item(hex_id=secrets.token_hex(12), type=kind, id=name, note=note))
    return tuple(made)


def _text(body: Mapping[str, Any], name: str) -> str | None:
    """A text of a request, None if it is not given. Only a title must have characters."""
    value = body.get(name)
    least = 1 if name == "title" else 0
    if value is None:
        return None
    if not isinstance(value, str) or not least <= len(value) <= _LENGTHS[name]:
        raise HubError(400, f'"{name}" must be a string of {least} to {_LENGTHS[name]} characters')
    return value


def _position(body: Mapping[str, Any]) -> int:
    value = body["position"]
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return int(_checked(body, "position", good))


def _checked(body: Mapping[str, Any], name: str, good: bool) -> Any:
    if not good:
        raise HubError(400, f'"{name}" cannot be {body[name]!r}')
    return body[name]


def _summary(face: HubFace, call: Call, collection: Collection) -> dict[str, Any]:
    described = {"description": collection.description} if collection.description else {}
    return {
        "slug": collection.slug,
        "title": collection.title,
        **described,
        "lastUpdated": instant(collection.updated_at),
        "gating": False,
        "owner": _owner(face, call, collection.owner),
        "theme": collection.theme,
        "private": collection.private,
        "upvotes": 0,
        "isUpvotedByUser": False,
        "items": list(_shown(face, call, collection))[:_LISTED_ITEMS],
    }


def _details(face: HubFace, call: Call, collection: Collection) -> dict[str, Any]:
    return {
        **_summary(face, call, collection),
        "items": list(_shown(face, call, collection)),
        "position": collection.position,
        "shareUrl": f"{call.base_url}/collections/{collection.slug}",
    }


def _owner(face: HubFace, call: Call, name: str) -> dict[str, Any]:
    is_user = name in face.users
    return {
        "_id": hex_id(f"{'user' if is_user else 'org'}/{name}"),
        "avatarUrl": f"{call.base_url}/avatars/{name}.svg",
        "fullname": name,
        "name": name,
        "isHf": False,
        "isHfAdmin": False,
        "isMod": False,
        **({"type": "user", "isPro": False} if is_user else {"type": "org"}),
    }


def _shown(face: HubFace, call: Call, collection: Collection) -> Iterator[dict[str, Any]]:
    """The items that can be seen: those that were deleted since, or are hidden, are left out."""
    for position, item in enumerate(collection.items):
        repo = face.repos.get(item.type, item.id) or face.repos.moved(item.type, item.id)
        if repo is not None and call.sees(repo):
            text = item.note or ""
            noted = {"note": {"html": html.escape(text), "text": text}} if text else {}
            yield {
                "_id": item.hex_id,
                "position": position,
                **noted,
                **_repo(face, repo),
            }


def _repo(face: HubFace, repo: Repo) -> dict[str, Any]:
    names = ["author", "downloads", "gated", "lastModified", "likes", "private"]
    names += ["pipeline_tag"] if repo.kind == "model" else []
    told = describe(face, repo, face.repos.resolve(repo, MAIN), names)
    more: dict[str, Any] = {"availableInferenceProviders": []} if repo.kind == "model" else {}
    return {
        **{name: told[name] for name in names if told.get(name) is not None},
        "id": repo.id,
        "isLikedByUser": False,
        "repoType": repo.kind,
        "type": repo.kind,
        **more,
    }
