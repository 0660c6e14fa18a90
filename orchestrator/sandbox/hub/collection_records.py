"""Collections on disk: a JSON file for each, replaced in one step."""

from __future__ import annotations

import re
import secrets
import threading
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.clock import Clock

_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")


class Item(BaseModel):
    """Something in a collection. `hex_id` is the item's own id, not that of what it shows."""

    model_config = ConfigDict(frozen=True)

    hex_id: str
    type: str
    id: str
    note: str | None = None


class Collection(BaseModel):
    """What may change of a collection. Its items are in their order."""

    model_config = ConfigDict(frozen=True)

    hex_id: str
    owner: str
    title: str
    description: str | None = None
    private: bool = False
    theme: str = "orange"
    position: int = 0
    updated_at: datetime
    words: str
    items: tuple[Item, ...] = ()

    @property
    def slug(self) -> str:
        """Its name in addresses; the words are those of its first title."""
        return f"{self.owner}/{self.words}-{self.hex_id}"


class Collections:
    """All collections under one folder. Callers hold `lock` from reading until writing."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root / "collections"
        self._clock = clock
        self.lock = threading.RLock()
        self._root.mkdir(parents=True, exist_ok=True)
        found = (
            Collection.model_validate_json(file.read_text(encoding="utf-8"))
            for file in self._root.glob("*.json")
        )
        self._by_id = {one.hex_id: one for one in found}

    def all(self) -> list[Collection]:
        """Every collection, those changed last before the others."""
        with self.lock:
            return sorted(self._by_id.values(), key=lambda one: (one.updated_at, one.hex_id))[::-1]

    def get(self, slug: str) -> Collection | None:
        """The collection with this name; the words before its id may be old ones."""
        owner, _, name = slug.partition("/")
        found = self._by_id.get(name.rpartition("-")[2])
        return found if found is not None and found.owner == owner else None

    def create(
        self, owner: str, title: str, *, description: str | None, private: bool
    ) -> Collection:
        """Make an empty collection."""
        words = _NOT_IN_SLUGS.sub("-", title.lower()).strip("-") or "collection"
        made = Collection(
            hex_id=secrets.token_hex(12),
            owner=owner,
            title=title,
            description=description,
            private=private,
            updated_at=self._clock.now(),
            words=words,
        )
        return self.save(made)

    def save(self, collection: Collection) -> Collection:
        """Record a collection as it is now; gives it with the time of the change."""
        changed = collection.model_copy(update={"updated_at": self._clock.now()})
        with self.lock:
            draft = self._root / f"{changed.hex_id}.{secrets.token_hex(8)}.new"
            draft.write_text(changed.model_dump_json(), encoding="utf-8")
            draft.replace(self._root / f"{changed.hex_id}.json")
            self._by_id[changed.hex_id] = changed
        return changed

    def delete(self, collection: Collection) -> None:
        """Remove a collection; what it showed stays."""
        with self.lock:
            (self._root / f"{collection.hex_id}.json").unlink()
            del self._by_id[collection.hex_id]
