"""The Hub face's descriptions of repositories, one by one and in lists."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx2
import huggingface_hub
from huggingface_hub import HfApi

from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import WEIGHTS, Stage, put, status_of


def card(**metadata: Any) -> bytes:
    return f"---\n{json.dumps(metadata)}\n---\n# Card\n".encode()


def make(api: HfApi, clock: ManualClock, name: str, **metadata: Any) -> None:
    """A model with a card, a minute after the one before."""
    clock.advance(60)
    api.create_repo(name)
    put(api, f"alice/{name}" if "/" not in name else name, {"README.md": card(**metadata)})


def safetensors(shapes: dict[str, tuple[str, list[int]]]) -> bytes:
    sizes = {"F32": 4, "BF16": 2}
    header, at = {}, 0
    for name, (dtype, shape) in shapes.items():
        length = sizes[dtype]
        for one in shape:
            length *= one
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * at


def names(models: Any) -> list[str]:
    return [one.id for one in models]


def test_lists_are_filtered_by_author_search_and_tags(api: HfApi, clock: ManualClock) -> None:
    make(api, clock, "router-one", license="mit", tags=["router"], pipeline_tag="text-generation")
    make(api, clock, "router-two", license="mit", tags=["router", "math"], datasets=["alice/rows"])
    make(api, clock, "lab/code", license="apache-2.0", base_model="google/gemma-3-270m")
    assert names(api.list_models()) == ["alice/router-one", "alice/router-two", "lab/code"]
    assert names(api.list_models(author="lab")) == ["lab/code"]
    assert names(api.list_models(search="ROUTER")) == ["alice/router-one", "alice/router-two"]
    assert names(api.list_models(filter="math")) == ["alice/router-two"]
    assert names(api.list_models(filter=["router", "license:mit"])) == [
        "alice/router-one",
        "alice/router-two",
    ]
    assert names(api.list_models(filter=["math", "license:apache-2.0"])) == []
    assert names(api.list_models(trained_dataset="alice/rows")) == ["alice/router-two"]
    assert names(api.list_models(pipeline_tag="text-generation")) == ["alice/router-one"]
    assert names(api.list_models(filter="base_model:google/gemma-3-270m")) == ["lab/code"]
    assert names(api.list_models(gated=True)) == []


def test_lists_are_sorted_the_newest_first(api: HfApi, clock: ManualClock) -> None:
    for name in ("b", "c", "a"):
        make(api, clock, name, license="mit")
    clock.advance(60)
    put(api, "alice/b", {"late.txt": b"x"})
    assert names(api.list_models(sort="created_at")) == ["alice/a", "alice/c", "alice/b"]
    assert names(api.list_models(sort="last_modified")) == ["alice/b", "alice/a", "alice/c"]
    assert len(names(api.list_models(sort="likes"))) == 3


def test_lists_come_in_pages(stage: Stage, api: HfApi, clock: ManualClock) -> None:
    for number in range(5):
        make(api, clock, f"m{number}", license="mit")
    seen, address = [], f"{stage.url}/api/models?limit=2&sort=createdAt&filter=license:mit"
    pages = 0
    while address:
        reply = httpx2.get(address)
        seen += [one["id"] for one in reply.json()]
        address, pages = reply.links.get("next", {}).get("url", ""), pages + 1
    assert (seen, pages) == ([f"alice/m{number}" for number in (4, 3, 2, 1, 0)], 3)
    assert len(names(api.list_models(limit=2))) == 2
    for wrong in ("limit=0", "limit=x", "sort=color", "cursor=-1", "expand=color"):
        assert httpx2.get(f"{stage.url}/api/models?{wrong}").status_code == 400


def test_private_repos_are_listed_for_those_who_see_them(
    stage: Stage, api: HfApi, clock: ManualClock
) -> None:
    api.create_repo("secret", private=True)
    assert names(api.list_models()) == ["alice/secret"]
    assert names(HfApi(endpoint=stage.url, token="hf_bob").list_models()) == []
    assert names(HfApi(endpoint=stage.url, token=False).list_models()) == []


def test_datasets_are_listed_by_their_own_tags(api: HfApi) -> None:
    for name, size in (("small", "n<1K"), ("large", "1M<n<10M")):
        api.create_repo(name, repo_type="dataset")
        files = {"README.md": card(size_categories=[size], task_categories=["text-generation"])}
        put(api, f"alice/{name}", files, repo_type="dataset")
    assert names(api.list_datasets(size_categories="n<1K")) == ["alice/small"]
    assert len(names(api.list_datasets(task_categories="text-generation"))) == 2
    assert names(api.list_datasets(dataset_name="arg")) == ["alice/large"]
    assert names(api.list_models()) == []


def test_full_lists_tell_more(api: HfApi, clock: ManualClock) -> None:
    make(api, clock, "one", license="mit")
    (short,) = api.list_models()
    (full,) = api.list_models(full=True, cardData=True)
    assert (short.sha, short.siblings, short.card_data) == (None, None, None)
    assert full.sha is not None
    assert [one.rfilename for one in full.siblings or []] == [".gitattributes", "README.md"]
    assert full.card_data is not None
    assert full.card_data.license == "mit"
    (expanded,) = api.list_models(expand=["sha", "author"])
    assert (expanded.sha, expanded.author, expanded.tags) == (full.sha, "alice", None)


def test_expand_gives_what_was_asked_for_and_nothing_else(api: HfApi, clock: ManualClock) -> None:
    make(api, clock, "one", license="mit", base_model=["google/gemma-3-270m"])
    info = api.model_info("alice/one", expand=["baseModels", "downloadsAllTime", "sha"])
    assert info.base_models == ["google/gemma-3-270m"]
    assert info.downloads_all_time == 0
    assert (info.tags, info.siblings, info.created_at) == (None, None, None)
    unknown: Any = ["color"]
    assert status_of(lambda: api.model_info("alice/one", expand=unknown)) == 400


def test_the_size_and_digest_of_files_come_with_their_metadata(api: HfApi) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"w.bin": WEIGHTS, "a.txt": b"hello"})
    plain = {one.rfilename: one for one in api.model_info("alice/one").siblings or []}
    assert plain["a.txt"].size is None
    info = api.model_info("alice/one", files_metadata=True, securityStatus=True)
    found = {one.rfilename: one for one in info.siblings or []}
    assert (found["a.txt"].size, found["w.bin"].size) == (5, len(WEIGHTS))
    assert found["a.txt"].blob_id == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    assert info.security_repo_status == {"scansDone": False, "filesWithIssues": []}
    assert info.used_storage is not None
    assert info.used_storage > len(WEIGHTS)


def test_parameters_are_counted_by_type_over_all_shards(api: HfApi) -> None:
    api.create_repo("whole")
    put(api, "alice/whole", {"model.safetensors": safetensors({"w": ("F32", [3, 5])})})
    whole = api.model_info("alice/whole").safetensors
    assert whole is not None
    assert (whole.parameters, whole.total) == ({"F32": 15}, 15)
    api.create_repo("sharded")
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    put(
        api,
        "alice/sharded",
        {
            "model.safetensors.index.json": json.dumps(index).encode(),
            "m-1.safetensors": safetensors({"a": ("F32", [2])}),
            "m-2.safetensors": safetensors({"b": ("BF16", [4, 2]), "c": ("BF16", [])}),
        },
    )
    sharded = api.model_info("alice/sharded").safetensors
    assert sharded is not None
    assert (sharded.parameters, sharded.total) == ({"F32": 2, "BF16": 9}, 11)
    api.create_repo("broken")
    put(api, "alice/broken", {"model.safetensors": WEIGHTS, "config.json": b"[1"})
    assert api.model_info("alice/broken").safetensors is None


def test_the_configuration_is_told_as_the_hub_keeps_it(api: HfApi) -> None:
    api.create_repo("one")
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64}
    put(
        api,
        "alice/one",
        {
            "config.json": json.dumps(config).encode(),
            "tokenizer_config.json": json.dumps({"eos_token": "</s>", "x": 1}).encode(),
        },
    )
    assert api.model_info("alice/one").config == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "tokenizer_config": {"eos_token": "</s>"},
    }


def test_an_expanded_tree_comes_in_smaller_pages_and_says_that_nothing_was_scanned(
    stage: Stage, api: HfApi
) -> None:
    api.create_repo("one")
    put(api, "alice/one", {f"f{number:03d}.txt": b"x" for number in range(120)})
    tree = f"{stage.url}/api/models/alice/one/tree/main"
    assert len(httpx2.get(tree).json()) == 121
    first = httpx2.get(tree, params={"expand": "true"})
    assert len(first.json()) == 100
    assert "next" in first.links
    assert len(list(api.list_repo_tree("alice/one", expand=True))) == 121
    (item,) = api.get_paths_info("alice/one", "f000.txt", expand=True)
    assert isinstance(item, huggingface_hub.hf_api.RepoFile)
    assert item.security is not None
    assert (item.security["safe"], item.security["status"]) == (False, "unscanned")
    assert httpx2.get(tree, params={"limit": "0"}).status_code == 400


def test_what_a_repo_stores_can_be_counted(stage: Stage, api: HfApi, clock: ManualClock) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"w.bin": WEIGHTS, "d/a.txt": b"hello", "d/e/b.txt": b"b"})
    clock.advance(60)
    put(api, "alice/one", {"w.bin": WEIGHTS[::-1], "copy.bin": WEIGHTS})
    api.create_branch("alice/one", branch="dev")
    found = list(api.list_lfs_files("alice/one"))
    # Where it was pushed to first, though the branch has it too.
    assert {one.ref for one in found} == {"refs/heads/main"}
    assert [(one.filename, one.size) for one in found] == [("w.bin", len(WEIGHTS))] * 2
    assert found[0].pushed_at < found[1].pushed_at
    tree_size = f"{stage.url}/api/models/alice/one/treesize/main"
    assert httpx2.get(f"{tree_size}/d").json() == {"path": "/d", "size": 6}
    whole = httpx2.get(tree_size).json()["size"]
    assert whole > 2 * len(WEIGHTS) + 6
    assert httpx2.get(f"{tree_size}/absent").status_code == 404
