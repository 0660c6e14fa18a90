"""Collections on the Hub: made if there is none, and given what was published, each thing once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from orchestrator.endpoints import without_user_info
from orchestrator.errors import Conflict, InputError, NotFound, RefusalKind, Refused
from orchestrator.hub_client import prepare_client
from orchestrator.stores.hub_requests import HubRequests, Kind

_SLUG = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*[0-9a-f]{24}")
#: What the Hub takes.
_TITLE_LENGTH = 60
_DESCRIPTION_LENGTH = 150
_NOTE_LENGTH = 500
_PAGE = 100
_MOST_PAGES = 100


@dataclass(frozen=True)
class Entry:
    """Where something stands in a collection. `created` and `added` say what this call did."""

    slug: str
    url: str
    created: bool
    added: bool


def is_collection_slug(text: str) -> bool:
    """Whether a text names a collection as its address does: `owner/title-` and 24 hex digits."""
    return _SLUG.fullmatch(text) is not None


class HubCollections(HubRequests):
    """Collections at one Hub, with one token.

    All of it may be repeated: what is there already is found first, and an answer that says so
    counts as done. Raises `NotFound`, other `Refused`, `Ambiguous`, and `InputError`.
    """

    def put(self, slug: str, repo_id: str, *, kind: Kind = "model", note: str = "") -> Entry:
        """Put a repository into a collection, unless it is there; a note that is there stays.

        `slug` is the collection's own, as in its address: `owner/title-64f9a55bb3115b4f513ec026`.
        """
        if not is_collection_slug(slug):
            raise InputError(
                f"{slug!r} is not the name of a collection",
                hint="Write it as its address does, after /collections/: "
                "owner/title-64f9a55bb3115b4f513ec026",
            )
        if len(note) > _NOTE_LENGTH:
            raise InputError(f"a note of a collection has {_NOTE_LENGTH} characters at most")
        found = self._read(slug)
        url = f"{without_user_info(self._endpoint)}/collections/{slug}"
        if any(_is(item, repo_id, kind) for item in found.get("items", [])):
            return Entry(slug, url, created=False, added=False)
        self._retried(f"add {repo_id} to {slug}", lambda: self._add(slug, repo_id, kind, note))
        return Entry(slug, url, created=False, added=True)

    def put_by_title(
        self,
        namespace: str,
        title: str,
        repo_id: str,
        *,
        kind: Kind = "model",
        private: bool = True,
        description: str = "",
        note: str = "",
    ) -> Entry:
        """The same for the collection of an owner that has this title; made if there is none.

        One that is there stays as visible as it is.
        """
        if not 0 < len(title) <= _TITLE_LENGTH:
            raise InputError(f"the title of a collection has 1 to {_TITLE_LENGTH} characters")
        if len(description) > _DESCRIPTION_LENGTH:
            raise InputError(f"a collection is described in {_DESCRIPTION_LENGTH} characters")
        slug = self.find(namespace, title)
        created = slug is None
        if slug is None:
            slug = self._create(namespace, title, private=private, description=description)
        return replace(self.put(slug, repo_id, kind=kind, note=note), created=created)

    def find(self, namespace: str, title: str) -> str | None:
        """The name of the owner's first collection with this title, or None."""
        doing = f"list the collections of {namespace}"
        return self._retried(doing, lambda: self._find(namespace, title))

    def _find(self, namespace: str, title: str) -> str | None:
        # Not list_collections: it retries with sleeps of its own.
        prepare_client(self._timeout_s)
        from huggingface_hub import get_session, hf_raise_for_status

        url = f"{self._endpoint}/api/collections?owner={quote(namespace, safe='')}&limit={_PAGE}"
        for _ in range(_MOST_PAGES):
            response = get_session().get(url, headers=self._headers())
            hf_raise_for_status(response)
            for one in response.json():
                if isinstance(one, dict) and one.get("title") == title and one.get("slug"):
                    return str(one["slug"])
            following = response.links.get("next", {}).get("url")
            if following is None:
                break
            url = following
        return None

    def _read(self, slug: str) -> dict[str, Any]:
        url = f"{self._endpoint}/api/collections/{quote(slug)}"
        try:
            found = self._retried(f"read the collection {slug}", lambda: self._get_json(url, {}))
        except NotFound as error:
            raise NotFound(
                f"there is no collection {slug} that this token can see",
                hint="Its name is what follows /collections/ in its address.",
            ) from error
        return found if isinstance(found, dict) else {}

    def _create(self, namespace: str, title: str, *, private: bool, description: str) -> str:
        """The slug of a new collection, or of the one that an earlier, lost call has made."""

        def create() -> str:
            # Again each time: an answer may have been lost.
            slug = self._find(namespace, title)
            if slug is not None:
                return slug
            made = self._api().create_collection(
                title,
                namespace=namespace,
                description=description or None,
                private=private,
                exists_ok=True,
            )
            return made.slug

        return self._retried(f"create the collection {title} of {namespace}", create)

    def _add(self, slug: str, repo_id: str, kind: Kind, note: str) -> None:
        try:
            self._asked(
                f"add {repo_id} to {slug}",
                lambda: self._api().add_collection_item(
                    slug, item_id=repo_id, item_type=kind, note=note or None, exists_ok=True
                ),
            )
        except Conflict:
            return  # it is there already
        except Refused as error:
            if error.kind is RefusalKind.PERMISSION:
                raise Refused(
                    f"this token may not change the collection {slug}",
                    kind=error.kind,
                    hint="Use a token that may write to collections of its owner.",
                ) from error
            raise


def _is(item: dict[str, Any], repo_id: str, kind: Kind) -> bool:
    return (item.get("type"), item.get("id")) == (kind, repo_id)
