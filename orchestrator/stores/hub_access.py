"""What the Hub says of a token, and whether it may write to a repository. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import InputError

_WRITING_ROLES = frozenset({"admin", "write", "contributor"})
#: One part of an id: at most 96 characters, no dot or dash at either end.
_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")


def check_repo_name(repo: str) -> None:
    """Raise `InputError` unless `name` or `namespace/name` can name a repository."""
    parts = repo.split("/")
    good = all(_PART.fullmatch(part) for part in parts) and len(parts) <= 2 and len(repo) <= 96
    if not good or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise InputError(
            f"{repo!r} cannot be the name of a repository on the Hugging Face Hub",
            hint="Write name or namespace/name, with letters, digits, '-', '_' and '.' only "
            "(no '--', no '..', 96 characters at most).",
        )


def write_problem(who: Mapping[str, Any], repo_id: str, kind: str = "model") -> str | None:
    """Why this account and token may not write to a repository; None if nothing says so."""
    namespace = repo_id.split("/")[0]
    if namespace != who.get("name"):
        org = next((one for one in who.get("orgs", []) if one.get("name") == namespace), None)
        if org is None:
            return f"{namespace} is neither this user nor one of its organisations"
        roles = {org.get("roleInOrg"), *(one.get("role") for one in org.get("resourceGroups", []))}
        if roles != {None} and not roles & _WRITING_ROLES:
            return f"its role in {namespace} is {org.get('roleInOrg')}"
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        return "the token is for reading"
    if token.get("role") == "fineGrained":
        return _scope_problem(token.get("fineGrained", {}).get("scoped"), repo_id, kind)
    return None


def _scope_problem(scopes: Any, repo_id: str, kind: str) -> str | None:
    """Why a fine-grained token may not write; None also where its scopes leave it open."""
    if not isinstance(scopes, list):
        return None
    namespace = repo_id.split("/")[0]
    for scope in scopes:
        entity = scope.get("entity", {})
        if "repo.write" not in scope.get("permissions", []):
            continue
        # A scope without a name, or for a resource group, may well cover the repository.
        if "name" not in entity or entity.get("type") == "resource-group":
            return None
        covered = repo_id if entity.get("type") == kind else namespace
        if entity["name"] == covered:
            return None
    return f"the fine-grained token has no repo.write permission for {namespace}"
