"""The JSON API against a model of it in a dictionary, through any order of requests."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app

BUCKET = "modelled"
NAMES = st.sampled_from(["a", "a/", "a/b", "a/b/c", "a//b", "b", "b%2Fc", "é/ü", "~", "\U0001f6b2"])
CONTENT = st.binary(max_size=20)
METADATA = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["", "1", "ü"]))
#: Which generation a condition names: none, any that is not there, the live one, a wrong one.
CONDITIONS = st.sampled_from(["", "", "absent", "live", "wrong"])


@dataclass(frozen=True)
class _Version:
    generation: int
    content: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    metageneration: int = 1
    is_live: bool = True


class StorageModel(RuleBasedStateMachine):
    """Every answer is what the model expects, and so is every list."""

    @initialize(versioned=st.booleans())
    def start(self, versioned: bool) -> None:
        self.versioned = versioned
        self.versions: dict[str, list[_Version]] = {}
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.serve()
        self.disk.create_bucket(BUCKET, {"versioning": {"enabled": versioned}})

    def serve(self) -> None:
        self.disk = ObjectDisk(Path(self.folder.name))
        transport = httpx2.ASGITransport(storage_app(self.disk))
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()
            self.folder.cleanup()

    def send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        return self.runner.run(self.client.request(method, path, **request))

    def live(self, name: str) -> _Version | None:
        return next((v for v in self.versions.get(name, []) if v.is_live), None)

    def condition(self, kind: str, name: str) -> tuple[dict[str, str], bool]:
        """Parameters of a request, and whether they hold."""
        live = self.live(name)
        if kind == "absent":
            return {"ifGenerationMatch": "0"}, live is None
        if kind == "live":
            return {"ifGenerationMatch": str(live.generation if live else 0)}, True
        if kind == "wrong":
            return {"ifGenerationMatch": "7"}, False
        return {}, True

    def install(self, answer: httpx2.Response, holds: bool, name: str, new: _Version) -> None:
        """What a request that makes an object must have answered and done."""
        assert answer.status_code == (200 if holds else 412), answer.text
        if not holds:
            return
        told = answer.json()["resource"] if "resource" in answer.json() else answer.json()
        made = replace(new, generation=int(told["generation"]))
        known = [v.generation for versions in self.versions.values() for v in versions]
        assert made.generation > max(known, default=0)
        assert int(told["size"]) == len(new.content)
        self.retire(name)
        self.versions.setdefault(name, []).append(made)

    def retire(self, name: str) -> None:
        """The live version becomes a noncurrent one, or is gone."""
        kept = [replace(v, is_live=False) for v in self.versions.get(name, [])]
        self.versions[name] = kept if self.versioned else []

    @rule(name=NAMES, content=CONTENT, metadata=METADATA, kind=CONDITIONS)
    def put(self, name: str, content: bytes, metadata: dict[str, str], kind: str) -> None:
        query, holds = self.condition(kind, name)
        started = self.send(
            "POST",
            f"/upload/storage/v1/b/{BUCKET}/o",
            params={"uploadType": "resumable", "name": name, **query},
            json={"metadata": metadata},
        )
        if holds:
            answer = self.send("PUT", started.headers["location"], content=content)
        else:
            answer = started
        self.install(answer, holds, name, _Version(0, content, metadata))

    @rule(name=NAMES, content=CONTENT, kind=CONDITIONS)
    def put_by_xml(self, name: str, content: bytes, kind: str) -> None:
        query, holds = self.condition(kind, name)
        headers = [("x-goog-if-generation-match", value) for value in query.values()]
        answer = self.send("PUT", f"/{BUCKET}/{quote(name)}", content=content, headers=headers)
        assert answer.status_code == (200 if holds else 412)
        if holds:
            told = {"generation": answer.headers["x-goog-generation"], "size": len(content)}
            self.install(httpx2.Response(200, json=told), holds, name, _Version(0, content))

    @rule(name=NAMES, metadata=METADATA, kind=CONDITIONS)
    def patch(self, name: str, metadata: dict[str, str], kind: str) -> None:
        query, holds = self.condition(kind, name)
        live = self.live(name)
        answer = self.send("PATCH", _item(name), params=query, json={"metadata": metadata})
        assert answer.status_code == (404 if live is None else 200 if holds else 412)
        if answer.status_code == 200 and live is not None:
            changed = replace(
                live,
                metadata=live.metadata | metadata,
                metageneration=live.metageneration + 1,
            )
            self.versions[name] = [changed if v is live else v for v in self.versions[name]]

    @rule(name=NAMES, kind=CONDITIONS)
    def delete(self, name: str, kind: str) -> None:
        query, holds = self.condition(kind, name)
        live = self.live(name)
        answer = self.send("DELETE", _item(name), params=query)
        assert answer.status_code == (404 if live is None else 204 if holds else 412)
        if answer.status_code == 204:
            self.retire(name)

    @rule(name=NAMES, at=st.integers(0, 3))
    def delete_for_good(self, name: str, at: int) -> None:
        versions = self.versions.get(name, [])
        generation = versions[at].generation if at < len(versions) else 7
        answer = self.send("DELETE", _item(name), params={"generation": generation})
        assert answer.status_code == (204 if at < len(versions) else 404)
        self.versions[name] = [v for v in versions if v.generation != generation]

    @rule(source=NAMES, name=NAMES, at=st.integers(0, 3), kind=CONDITIONS)
    def rewrite(self, source: str, name: str, at: int, kind: str) -> None:
        versions = self.versions.get(source, [])
        if at >= len(versions):
            return
        query, holds = self.condition(kind, name)
        path = f"{_item(source)}/rewriteTo/b/{BUCKET}/o/{quote(name, safe='')}"
        query["sourceGeneration"] = str(versions[at].generation)
        answer = self.send("POST", path, params=query)
        copied = _Version(0, versions[at].content, versions[at].metadata)
        self.install(answer, holds, name, copied)

    @rule(sources=st.lists(NAMES, min_size=1, max_size=3), name=NAMES, kind=CONDITIONS)
    def compose(self, sources: list[str], name: str, kind: str) -> None:
        query, holds = self.condition(kind, name)
        body = {"sourceObjects": [{"name": source} for source in sources]}
        answer = self.send("POST", f"{_item(name)}/compose", params=query, json=body)
        parts = [self.live(source) for source in sources]
        if holds and not all(parts):
            assert answer.status_code == 404
            return
        content = b"".join(part.content for part in parts if part is not None)
        self.install(answer, holds, name, _Version(0, content))

    @precondition(lambda self: self.versions)
    @rule()
    def restart(self) -> None:
        self.serve()

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "a/b", "b", "é"]),
        delimiter=st.sampled_from(["", "/", "b"]),
        start=st.sampled_from(["", "a/b", "b"]),
        end=st.sampled_from(["", "a//c", "c"]),
        size=st.integers(1, 4),
        old=st.booleans(),
    )
    def list_pages(
        self, prefix: str, delimiter: str, start: str, end: str, size: int, old: bool
    ) -> None:
        query = {
            "prefix": prefix,
            "delimiter": delimiter,
            "startOffset": start,
            "endOffset": end,
            "versions": str(old).lower(),
        }
        names = [n for n in self.versions if n.startswith(prefix) and n >= start]
        expected: set[tuple[str, int]] = set()
        for name in [n for n in names if not end or n < end]:
            rest = name[len(prefix) :]
            shown = [v for v in self.versions[name] if v.is_live or old]
            if delimiter and delimiter in rest and shown:
                expected.add((prefix + rest[: rest.index(delimiter)] + delimiter, 0))
            elif shown:
                expected |= {(name, v.generation) for v in shown}
        found: list[tuple[str, int]] = []
        token: str | None = ""
        while token is not None:
            page = self.send(
                "GET",
                f"/storage/v1/b/{BUCKET}/o",
                params={**query, "maxResults": size} | ({"pageToken": token} if token else {}),
            ).json()
            entries = [(i["name"], int(i["generation"])) for i in page.get("items", [])]
            entries += [(entry, 0) for entry in page.get("prefixes", [])]
            assert len(entries) <= size
            found += sorted(entries)
            token = page.get("nextPageToken")
        assert found == sorted(expected)

    @rule(name=NAMES, at=st.integers(0, 3))
    def read(self, name: str, at: int) -> None:
        versions = self.versions.get(name, [])
        if at >= len(versions):
            return
        version = versions[at]
        query = {"generation": str(version.generation), "alt": "media"}
        json = self.send("GET", _item(name), params=query)
        xml = self.send(
            "GET", f"/{BUCKET}/{quote(name)}", params={"generation": query["generation"]}
        )
        for answer in (json, xml):
            assert answer.content == version.content
            assert answer.headers["x-goog-generation"] == query["generation"]
            assert answer.headers["x-goog-metageneration"] == str(version.metageneration)

    @invariant()
    def everything_is_as_expected(self) -> None:
        found = {
            (v.name, v.generation): (
                v.metageneration,
                v.deleted is None,
                dict(v.metadata),
                hashlib.sha256(v.path.read_bytes()).hexdigest(),
            )
            for v in self.disk.list(BUCKET, versions=True)
        }
        assert found == {
            (name, v.generation): (
                v.metageneration,
                v.is_live,
                v.metadata,
                hashlib.sha256(v.content).hexdigest(),
            )
            for name, versions in self.versions.items()
            for v in versions
        }
        contents = list(Path(self.folder.name).rglob("*.bin"))
        assert len(contents) == len(found)
        assert not list((self.disk.root / "drafts").iterdir())


def _item(name: str) -> str:
    return f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}"


TestStorageModel = StorageModel.TestCase
TestStorageModel.settings = settings(max_examples=30, stateful_step_count=25)
