"""Settings of buckets, and who may do what with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api

from tests.sandbox.storage.stage import (
    BUCKET,
    FaceServer,
    StorageFace,
    storage_client,
)


def test_settings_come_back_and_count_up_the_metageneration(client: Any) -> None:
    bucket = client.bucket("with-settings")
    bucket.labels = {"team": "router"}
    bucket.storage_class = "NEARLINE"
    bucket.add_lifecycle_delete_rule(age=30)
    bucket.create(location="europe-west4")
    assert (bucket.metageneration, bucket.location) == (1, "EUROPE-WEST4")
    bucket.labels = {"team": "math", "stage": "test"}
    bucket.patch(if_metageneration_match=1)
    bucket.labels = {"stage": "test"}
    bucket.patch()
    seen = client.get_bucket("with-settings")
    assert seen.labels == {"stage": "test"}
    assert (seen.metageneration, seen.storage_class) == (3, "NEARLINE")
    assert [dict(rule) for rule in seen.lifecycle_rules] == [
        {"action": {"type": "Delete"}, "condition": {"age": 30}}
    ]
    blob = seen.blob("x")
    blob.upload_from_string(b"")
    assert seen.get_blob("x").storage_class == "NEARLINE"


def test_settings_survive_a_restart(client: Any, server: FaceServer, tmp_path: Path) -> None:
    bucket = client.get_bucket(BUCKET)
    bucket.labels = {"a": "b"}
    bucket.patch()
    server.face(tmp_path / "disk")
    seen = client.get_bucket(BUCKET)
    assert (seen.labels, seen.metageneration) == ({"a": "b"}, 2)


def test_an_update_replaces_all_settings_but_the_place(client: Any) -> None:
    bucket = client.bucket("with-settings")
    bucket.labels = {"team": "router"}
    bucket.versioning_enabled = True
    bucket.create(location="eu")
    bucket._properties = {"labels": {"only": "this"}}
    bucket.update()
    seen = client.get_bucket("with-settings")
    assert (seen.labels, seen.versioning_enabled, seen.location) == ({"only": "this"}, False, "EU")


def test_conditions_of_a_bucket_are_checked_on_every_method(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    with pytest.raises(api.PreconditionFailed):
        bucket.reload(if_metageneration_match=2)
    with pytest.raises(api.NotModified):
        bucket.reload(if_metageneration_not_match=1)
    for change in (bucket.patch, bucket.update, bucket.delete):
        with pytest.raises(api.PreconditionFailed):
            change(if_metageneration_match=2)
        with pytest.raises(api.NotModified):
            change(if_metageneration_not_match=1)
    assert client.get_bucket(BUCKET).metageneration == 1
    bucket.delete(if_metageneration_match=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"storageClass": "FAST"},
        {"labels": {"a": "has space"}},
        {"retentionPolicy": {"retentionPeriod": "soon"}},
        {"retentionPolicy": {"retentionPeriod": "3155760001"}},
        {"retentionPolicy": []},
        {"versioning": True},
        {"autoclass": "on"},
        {"hierarchicalNamespace": 1},
        {"softDeletePolicy": ["x"]},
        {"iamConfiguration": "x"},
        {"iamConfiguration": {"uniformBucketLevelAccess": True}},
        {"storageClass": ["STANDARD"]},
        {"acl": [{"entity": "allUsers", "role": "BOSS"}]},
    ],
)
def test_a_setting_that_means_nothing_is_refused(face: StorageFace, settings: Any) -> None:
    url = f"{face.url}/storage/v1/b/{BUCKET}"
    assert requests.patch(url, json=settings, timeout=10).status_code == 400
    assert requests.get(url, timeout=10).json()["metageneration"] == "1"
    body = {"name": "other", **settings}
    url = f"{face.url}/storage/v1/b?project=p"
    assert requests.post(url, json=body, timeout=10).status_code == 400


def test_a_bucket_gets_its_own_default_access_list_back(bucket: Any, face: StorageFace) -> None:
    bucket.default_object_acl.all().grant_read()
    bucket.default_object_acl.save()
    url = f"{face.url}/storage/v1/b/{BUCKET}"
    answer = requests.patch(url, json={"defaultObjectAcl": None}, timeout=10)
    assert answer.status_code == 200
    assert "defaultObjectAcl" not in face.disk.bucket(BUCKET).config


@pytest.mark.parametrize(
    "settings",
    [
        {"hierarchicalNamespace": {"enabled": True}},
        {"softDeletePolicy": {"retentionDurationSeconds": "604800"}},
        {"encryption": {"defaultKmsKeyName": "projects/p/keys/k"}},
    ],
)
def test_a_setting_that_would_have_no_effect_is_not_served(
    face: StorageFace, settings: Any
) -> None:
    url = f"{face.url}/storage/v1/b/{BUCKET}"
    assert requests.patch(url, json=settings, timeout=10).status_code == 501


def test_buckets_are_listed_in_pages(client: Any) -> None:
    for name in ("aaa", "bbb", "zzz"):
        client.create_bucket(name)
    pages = client.list_buckets(page_size=2).pages
    assert [[b.name for b in page] for page in pages] == [["aaa", "bbb"], [BUCKET, "zzz"]]
    assert [b.name for b in client.list_buckets(prefix="z")] == ["zzz"]


def test_access_lists_are_changed_entry_by_entry(bucket: Any, face: StorageFace) -> None:
    bucket.blob("x").upload_from_string(b"")
    for path in (f"b/{BUCKET}/acl", f"b/{BUCKET}/defaultObjectAcl", f"b/{BUCKET}/o/x/acl"):
        url = f"{face.url}/storage/v1/{path}"
        before = requests.get(url, timeout=10).json()["items"]
        entry = {"entity": "user-a@example.com", "role": "reader"}
        made = requests.post(url, json=entry, timeout=10).json()
        assert (made["role"], made["email"]) == ("READER", "a@example.com")
        one = f"{url}/user-a%40example.com"
        patched = requests.patch(one, json={"role": "OWNER"}, timeout=10)
        assert patched.json()["role"] == "OWNER"
        assert requests.get(one, timeout=10).json()["role"] == "OWNER"
        assert len(requests.get(url, timeout=10).json()["items"]) == len(before) + 1
        assert requests.delete(one, timeout=10).status_code == 204
        assert requests.get(one, timeout=10).status_code == 404
        assert requests.get(url, timeout=10).json()["items"] == before


def test_access_lists_are_saved_whole_under_a_condition(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"", predefined_acl="private")
    assert [entry["role"] for entry in blob.acl] == ["OWNER"]
    blob.acl.all().grant_read()
    with pytest.raises(api.PreconditionFailed):
        blob.acl.save(if_metageneration_match=2)
    blob.acl.save(if_metageneration_match=1)
    seen = bucket.get_blob("x")
    assert seen.acl.all().get_roles() == {"READER"}
    assert seen.metageneration == 2


def test_new_objects_get_the_default_access_list_of_their_bucket(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    bucket.default_object_acl.all().grant_read()
    bucket.default_object_acl.save()
    bucket.blob("x").upload_from_string(b"")
    assert bucket.blob("x").acl.all().get_roles() == {"READER"}


def test_uniform_access_switches_access_lists_off(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string(b"")
    for read in (blob.acl.reload, bucket.acl.reload):
        with pytest.raises(api.BadRequest, match="uniform bucket-level access"):
            read()
    with pytest.raises(api.BadRequest):
        bucket.blob("y").upload_from_string(b"", predefined_acl="publicRead")
    assert client.get_bucket(BUCKET).iam_configuration.uniform_bucket_level_access_locked_time


def test_a_policy_is_changed_by_who_read_it_last(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    policy = bucket.get_iam_policy()
    assert {binding["role"] for binding in policy.bindings} == {
        "roles/storage.legacyBucketOwner",
        "roles/storage.legacyBucketReader",
    }
    stale = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.admin", "members": {"user:a@example.com"}})
    bucket.set_iam_policy(policy)
    with pytest.raises(api.PreconditionFailed):
        bucket.set_iam_policy(stale)
    assert len(bucket.get_iam_policy().bindings) == 3


def test_a_policy_with_conditions_needs_its_version_and_uniform_access(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    binding = {
        "role": "roles/storage.objectViewer",
        "members": {"user:a@example.com"},
        "condition": {"title": "always", "expression": "true"},
    }
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append(binding)
    with pytest.raises(api.PreconditionFailed, match="enable uniform bucket-level access"):
        bucket.set_iam_policy(policy)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append(binding)
    with pytest.raises(api.BadRequest, match="at least 3"):
        bucket.set_iam_policy(policy)
    policy.version = 3
    bucket.set_iam_policy(policy)
    assert binding in bucket.get_iam_policy(requested_policy_version=3).bindings
    assert binding not in bucket.get_iam_policy().bindings


def test_a_caller_without_a_permission_is_refused(server: FaceServer, tmp_path: Path) -> None:
    granted = frozenset({"storage.objects.get", "storage.objects.list", "storage.buckets.get"})
    face = server.face(tmp_path / "limited", permissions=granted)
    face.disk.insert(BUCKET, "x", b"content")
    with storage_client(face.url) as client:
        bucket = client.bucket(BUCKET)
        asked = ["storage.objects.create", "storage.objects.get"]
        assert bucket.test_iam_permissions(asked) == ["storage.objects.get"]
        assert bucket.blob("x").download_as_bytes() == b"content"
        writes: list[tuple[Any, tuple[Any, ...]]] = [
            (bucket.blob("y").upload_from_string, (b"",)),
            (bucket.blob("x").delete, ()),
            (bucket.copy_blob, (bucket.blob("x"), bucket, "y")),
            (client.create_bucket, ("another",)),
        ]
        for write, arguments in writes:
            with pytest.raises(api.Forbidden, match=r"does not have storage\.\w+\.\w+ access"):
                write(*arguments)
    assert [v.name for v in face.disk.list(BUCKET)] == ["x"]


def test_notifications_are_kept_without_being_part_of_the_bucket(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    made = bucket.notification(topic_name="news", event_types=["OBJECT_FINALIZE"])
    made.create()
    assert [n.notification_id for n in bucket.list_notifications()] == [made.notification_id]
    assert bucket.get_notification(made.notification_id).event_types == ["OBJECT_FINALIZE"]
    assert client.get_bucket(BUCKET).metageneration == 1
    made.delete()
    assert not made.exists()


def test_an_hmac_key_is_switched_off_before_it_is_deleted(
    client: Any, server: FaceServer, tmp_path: Path
) -> None:
    key, secret = client.create_hmac_key("robot@example.com")
    assert len(secret) == 40
    with pytest.raises(api.BadRequest):
        _delete_unasked(client, key)
    server.face(tmp_path / "disk")
    key.state = "INACTIVE"
    key.update()
    key.delete()
    assert list(client.list_hmac_keys()) == []
    assert [k.state for k in client.list_hmac_keys(show_deleted_keys=True)] == ["DELETED"]
    with pytest.raises(api.NotFound):
        key.update()


def _delete_unasked(client: Any, key: Any) -> None:
    """Ask the service: the client's own `delete` refuses before it sends anything."""
    client._delete_resource(key.path)


def test_the_project_has_a_service_account(client: Any) -> None:
    assert "@" in client.get_service_account_email()


def test_access_lists_are_refused_whole_where_access_is_uniform(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    for acl in (bucket.acl, bucket.default_object_acl, bucket.blob("x").acl):
        if acl is not bucket.acl and acl is not bucket.default_object_acl:
            bucket.blob("x").upload_from_string(b"")
        acl.loaded = True  # as if it had been read before
        acl.group("team@example.com").grant_read()
        with pytest.raises(api.BadRequest, match="uniform bucket-level access"):
            acl.save()
    bucket.labels = {"other": "settings"}
    bucket.patch()


def test_a_bucket_that_must_not_be_public_cannot_be_made_so(client: Any) -> None:
    bucket = client.get_bucket(BUCKET)
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.patch()
    bucket.blob("x").upload_from_string(b"")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    for publish in (
        bucket.make_public,
        bucket.blob("x").make_public,
        lambda: bucket.set_iam_policy(policy),
    ):
        with pytest.raises(api.PreconditionFailed, match="public access prevention"):
            publish()
    bucket.iam_configuration.public_access_prevention = "sometimes"
    with pytest.raises(api.BadRequest):
        bucket.patch()


def test_contexts_of_an_object_are_changed_one_by_one(client: Any, face: StorageFace) -> None:
    bucket = client.bucket(BUCKET)
    bucket.blob("x").upload_from_string(b"")
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/x"

    def patch(custom: Any) -> Any:
        body = {"contexts": {"custom": custom}}
        return requests.patch(url, json=body, timeout=10).json().get("contexts")

    assert patch({"a": {"value": "1"}, "b": {"value": "2"}}) == {
        "custom": {"a": {"value": "1"}, "b": {"value": "2"}}
    }
    assert patch({"b": {"value": None}}) == {"custom": {"a": {"value": "1"}}}
    assert patch({"a": None}) is None
