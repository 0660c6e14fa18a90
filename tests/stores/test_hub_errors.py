"""Every exception of the Hub's client becomes one of ours, and every scope of a token is judged."""

from __future__ import annotations

import inspect
import json
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors

from orchestrator.errors import (
    Ambiguous,
    Conflict,
    InputError,
    NotFound,
    OrchestratorError,
    RefusalKind,
    Refused,
)
from orchestrator.hub_client import hub_error
from orchestrator.stores.hub_access import write_problem

#: What each class becomes: one of our classes, or the kind of a refusal. Classes that carry an
#: answer are tried with the status that the client raises them for.
EXPECTED: dict[str, type[OrchestratorError] | RefusalKind] = {
    "BadRequestError": RefusalKind.INVALID,
    "BucketBatchError": RefusalKind.INVALID,
    "BucketNotFoundError": NotFound,
    "CLIError": Ambiguous,
    "CLIExtensionInstallError": Ambiguous,
    "CacheNotFound": Ambiguous,
    "CachedRepoTreeNotFoundError": Ambiguous,
    "ConfirmationError": Ambiguous,
    "CorruptedCacheException": Ambiguous,
    "DDUFCorruptedFileError": Ambiguous,
    "DDUFError": Ambiguous,
    "DDUFExportError": Ambiguous,
    "DDUFInvalidEntryNameError": Ambiguous,
    "DeviceCodeError": RefusalKind.CREDENTIALS,
    "DisabledRepoError": RefusalKind.PERMISSION,
    "DryRunError": Ambiguous,
    "EntryNotFoundError": NotFound,
    "FileDuplicationError": Ambiguous,
    "FileMetadataError": Ambiguous,
    "GatedRepoError": RefusalKind.PERMISSION,
    "GenerationError": Ambiguous,
    "HFValidationError": RefusalKind.INVALID,
    "HTTPError": Ambiguous,
    "HfHubHTTPError": RefusalKind.INVALID,
    "HfUriError": RefusalKind.INVALID,
    "IncompleteGenerationError": Ambiguous,
    "IncompleteSnapshotError": NotFound,
    "InferenceEndpointError": Ambiguous,
    "InferenceEndpointTimeoutError": Ambiguous,
    "InferenceTimeoutError": Ambiguous,
    "JobNotFoundError": NotFound,
    "LocalEntryNotFoundError": NotFound,
    "LocalTokenNotFoundError": RefusalKind.CREDENTIALS,
    "NotASafetensorsRepoError": Ambiguous,
    "OIDCError": RefusalKind.CREDENTIALS,
    "OfflineModeIsEnabled": InputError,
    "OverloadedError": Ambiguous,
    "RemoteEntryNotFoundError": NotFound,
    "RepositoryNotFoundError": NotFound,
    "RevisionNotFoundError": NotFound,
    "RevisionResolutionError": Ambiguous,
    "SafetensorsParsingError": Ambiguous,
    "SandboxCommandError": Ambiguous,
    "SandboxError": Ambiguous,
    "StrictDataclassClassValidationError": Ambiguous,
    "StrictDataclassDefinitionError": Ambiguous,
    "StrictDataclassError": Ambiguous,
    "StrictDataclassFieldValidationError": Ambiguous,
    "TextGenerationError": Ambiguous,
    "UnknownError": Ambiguous,
    "ValidationError": Ambiguous,
    "XetDownloadError": Ambiguous,
}


def response(status: int, headers: dict[str, str] | None = None) -> httpx2.Response:
    request = httpx2.Request("GET", "https://huggingface.co/api/models/a/b")
    return httpx2.Response(status, headers=headers, request=request)


def made(kind: type[Exception], status: int) -> Exception:
    if issubclass(kind, errors.HfHubHTTPError):
        return kind("what happened", response=response(status))
    # Their constructors differ, and nothing but the class matters here.
    error = kind.__new__(kind)
    Exception.__init__(error, "what happened")
    return error


def check(error: Exception, expected: type[OrchestratorError] | RefusalKind) -> None:
    ours = hub_error(error, "cannot read a/b")
    if isinstance(expected, RefusalKind):
        assert isinstance(ours, Refused), error
        assert ours.kind == expected, error
    else:
        assert type(ours) is expected, error
    assert "cannot read a/b: " in ours.message


def test_every_exception_of_the_client_has_its_place() -> None:
    classes = {
        name: value
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, Exception)
    }
    assert set(classes) == set(EXPECTED)
    for name, kind in classes.items():
        expected = EXPECTED[name]
        status = {NotFound: 404, RefusalKind.PERMISSION: 403}.get(expected, 400)
        check(made(kind, status), expected)


def test_what_is_hidden_from_the_anonymous_is_not_found() -> None:
    check(made(errors.RepositoryNotFoundError, 401), NotFound)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, RefusalKind.INVALID),
        (401, RefusalKind.CREDENTIALS),
        (402, RefusalKind.PERMISSION),
        (403, RefusalKind.PERMISSION),
        (404, NotFound),
        (408, Ambiguous),
        (409, Conflict),
        (412, Conflict),
        (413, RefusalKind.INVALID),
        (422, RefusalKind.INVALID),
        (429, Ambiguous),
        (500, Ambiguous),
        (502, Ambiguous),
        (503, Ambiguous),
        (504, Ambiguous),
    ],
)
def test_every_status_has_its_meaning(
    status: int, expected: type[OrchestratorError] | RefusalKind
) -> None:
    check(made(errors.HfHubHTTPError, status), expected)


def test_every_exception_of_the_connection_is_ambiguous_or_a_wrong_address() -> None:
    wrong = {httpx2.InvalidURL, httpx2.UnsupportedProtocol}
    tried = 0
    for _, kind in inspect.getmembers(httpx2, inspect.isclass):
        if issubclass(kind, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError):
            check(made(kind, 0), InputError if kind in wrong else Ambiguous)
            tried += 1
    assert tried > 15


def test_an_answer_that_is_no_json_is_ambiguous_and_a_wrapped_error_is_what_it_wraps() -> None:
    check(json.JSONDecodeError("what happened", "<html>", 0), Ambiguous)
    wrapped = RuntimeError("Error while uploading")
    wrapped.__cause__ = made(errors.HfHubHTTPError, 403)
    check(wrapped, RefusalKind.PERMISSION)


def test_a_bug_of_ours_stays_what_it_is() -> None:
    assert hub_error(TypeError("x"), "cannot read") is None
    assert hub_error(RuntimeError("x"), "cannot read") is None


def test_a_wait_is_taken_from_either_header() -> None:
    for headers, wait_s in (({"retry-after": "9"}, 9), ({"ratelimit": '"api";r=0;t=55'}, 55)):
        error = errors.HfHubHTTPError("slow down", response=response(429, headers))
        ours = hub_error(error, "cannot read")
        assert isinstance(ours, Ambiguous)
        assert ours.retry_after_s == wait_s
        once = hub_error(error, "cannot commit", once=True)
        assert isinstance(once, Refused)
        assert (once.kind, once.retry_after_s) == (RefusalKind.QUOTA, wait_s)


def who(**token: Any) -> dict[str, Any]:
    orgs = [
        {"name": "lab", "roleInOrg": "contributor"},
        {"name": "club", "roleInOrg": "read"},
        {"name": "old"},
        {"name": "big", "roleInOrg": "read", "resourceGroups": [{"role": "write"}]},
    ]
    return {"name": "alice", "orgs": orgs, "auth": {"accessToken": token}}


def scoped(kind: str, name: str | None, *permissions: str) -> dict[str, Any]:
    entity = {"_id": "0" * 24, "type": kind, **({"name": name} if name else {})}
    scope = {"entity": entity, "permissions": list(permissions)}
    return who(role="fineGrained", fineGrained={"scoped": [scope]})


@pytest.mark.parametrize(
    ("account", "repo_id", "allowed"),
    [
        (who(role="write"), "alice/x", True),
        (who(role="read"), "alice/x", False),
        (who(role="write"), "bob/x", False),
        (who(role="write"), "lab/x", True),
        (who(role="write"), "club/x", False),
        (who(role="write"), "old/x", True),
        (who(role="write"), "big/x", True),
        (who(), "alice/x", True),
        (who(role="fineGrained"), "alice/x", True),
        (scoped("user", "alice", "repo.write"), "alice/x", True),
        (scoped("user", "alice", "repo.content.read"), "alice/x", False),
        (scoped("user", "alice", "repo.write"), "lab/x", False),
        (scoped("org", "lab", "repo.write"), "lab/x", True),
        (scoped("model", "alice/x", "repo.write"), "alice/x", True),
        (scoped("model", "alice/y", "repo.write"), "alice/x", False),
        (scoped("user", None, "repo.write"), "alice/x", True),
        (scoped("resource-group", "big-group", "repo.write"), "big/x", True),
    ],
)
def test_a_token_is_judged_by_what_the_hub_says_of_it(
    account: dict[str, Any], repo_id: str, allowed: bool
) -> None:
    assert (write_problem(account, repo_id) is None) is allowed
