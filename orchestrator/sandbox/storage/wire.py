"""The words of the Cloud Storage JSON API: errors, preconditions, names, answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.objects.buckets import BucketPreconditions
from orchestrator.sandbox.objects.versions import (
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    Preconditions,
    Protected,
    StoredVersion,
)
from orchestrator.sandbox.storage.partial import FieldsError, selected

#: Fields of an object that a client may set and that are only kept and given back.
FREE_PROPERTIES = ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage")

#: The limit of the service for one object.
MOST_METADATA_BYTES = 8 * 1024

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d", re.ASCII)
_PRECONDITIONS = {
    "generation_match": ("ifGenerationMatch",),
    "generation_not_match": ("ifGenerationNotMatch",),
    "metageneration_match": ("ifMetagenerationMatch",),
    # The Python client spells the last one with a capital G when it uploads.
    "metageneration_not_match": ("ifMetagenerationNotMatch", "ifMetaGenerationNotMatch"),
}


class ApiError(Exception):
    """An answer in the error format of the API; `size_bytes` is the object's, for a wrong range."""

    def __init__(
        self, status: int, reason: str, message: str, *, size_bytes: int | None = None
    ) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes
        self.status = status
        self.reason = reason
        self.message = message


def invalid(message: str) -> ApiError:
    """400: the request itself is wrong."""
    return ApiError(400, "invalid", message)


def not_served(what: str) -> ApiError:
    """501: the real service has it, the sandbox does not."""
    return ApiError(501, "notImplemented", f"The sandbox does not serve {what}.")


def error_answer(request: Request, error: Exception) -> Response:
    """Any error of the face or the disk, as the service would say it."""
    headers: dict[str, str] = {}
    if isinstance(error, BucketMissing):
        error = ApiError(404, "notFound", "The specified bucket does not exist.")
    elif isinstance(error, ObjectMissing):
        error = ApiError(404, "notFound", f"No such object: {error}")
    elif isinstance(error, PreconditionFailed):
        if error.unchanged:  # on writes too, as the service documents it
            return Response(status_code=304)
        error = ApiError(412, "conditionNotMet", str(error))
    elif isinstance(error, Protected):
        error = ApiError(403, "retentionPolicyNotMet", str(error))
    if not isinstance(error, ApiError):
        raise error
    if error.size_bytes is not None:
        headers["content-range"] = f"bytes */{error.size_bytes}"
    if request.query_params.get("alt") == "media" and request.method == "GET":
        # Downloads are answered in plain words; the client quotes them as they are.
        return PlainTextResponse(error.message, error.status, headers)
    detail: dict[str, str] = {
        "message": error.message,
        "domain": "global",
        "reason": error.reason,
    }
    if error.status == 412:
        detail |= {"locationType": "header", "location": "If-Match"}
    body = {"error": {"code": error.status, "message": error.message, "errors": [detail]}}
    return JSONResponse(body, error.status, headers)


def preconditions_of(query: Mapping[str, str], *, source: bool = False) -> Preconditions:
    """The four conditions that a request may carry, of its target or of its `source`."""
    found: dict[str, int] = {}
    for field, names in _PRECONDITIONS.items():
        for name in names:
            value = integer(query, "ifSource" + name.removeprefix("if") if source else name)
            if value is not None:
                found[field] = value
    return Preconditions(**found)


def bucket_preconditions_of(query: Mapping[str, str]) -> BucketPreconditions:
    """The conditions of a bucket's metageneration that a request may carry."""
    return BucketPreconditions(
        integer(query, "ifMetagenerationMatch"), integer(query, "ifMetagenerationNotMatch")
    )


def check_read(request: Request, version: StoredVersion) -> None:
    """Raise `PreconditionFailed` unless the conditions of the query and the headers hold."""
    preconditions_of(request.query_params).check(version)
    wanted, known = (_etags(request, name) for name in ("if-match", "if-none-match"))
    if wanted and "*" not in wanted and etag(version) not in wanted:
        raise PreconditionFailed(unchanged=False)
    if known and ("*" in known or etag(version) in known):
        raise PreconditionFailed(unchanged=True)


def _etags(request: Request, header: str) -> set[str]:
    entries = request.headers.get(header, "").split(",")
    return {entry.strip().removeprefix("W/").strip('"') for entry in entries if entry.strip()}


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A whole number of the query, or None if it is absent."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise invalid(f"Invalid value for {name}: {text!r}")
    return int(text)


def object_name_of(request: Request, parameter: str = "object") -> str:
    """The name in an object's URL."""
    return check_object_name(request.path_params[parameter])


def check_object_name(name: object) -> str:
    """The name, if the service allows it."""
    if not name:
        raise ApiError(400, "required", "Required")
    if not isinstance(name, str):
        raise invalid(f"Invalid value for name: {name!r}")
    if len(name.encode("utf-8", "surrogatepass")) > 1024:
        raise invalid("The specified object name is longer than 1024 bytes.")
    reserved = name in (".", "..") or name.startswith(".well-known/acme-challenge/")
    if reserved or "\r" in name or "\n" in name:
        raise invalid(f"Disallowed object name: {name!r}")
    return name


def header_text(field: str, value: object) -> str:
    """A string that comes back as a header of downloads."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]*", value):
        raise invalid(f"Invalid value for {field}: {value!r}")
    return value


def check_instant(field: str, value: object) -> None:
    """Refuse what is no instant as RFC 3339 writes it."""
    refusal = invalid(f"Invalid value for {field}: {value!r}")
    # Python would read other separators of day and time too, line ends among them.
    if not _INSTANT.match(str(value)):
        raise refusal
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise refusal from None


def metadata_of(value: object) -> dict[str, str]:
    """The custom metadata of a resource; None is none."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise invalid("Invalid value for metadata: keys and values are strings.")
    if metadata_bytes(value) > MOST_METADATA_BYTES:
        raise invalid(f"The metadata has more than {MOST_METADATA_BYTES} bytes.")
    return value


def metadata_bytes(metadata: Mapping[str, str]) -> int:
    """The size of custom metadata, keys and values together, as the service's limit counts it."""
    return sum(len(text.encode()) for entry in metadata.items() for text in entry)


def check_bucket_name(name: object) -> str:
    """The name, if the service allows it."""
    if not isinstance(name, str) or not _BUCKET_NAME.fullmatch(name):
        raise invalid(f"Invalid bucket name: {name!r}")
    return name


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty object."""
    return json_object(await request.body())


def json_object(text: bytes) -> dict[str, Any]:
    """A JSON object; nothing is an empty one."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
        # Not every value that Python reads can be written again: NaN, half of a character.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ApiError(400, "parseError", "Parse Error") from None
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return value


def flag(query: Mapping[str, str], name: str) -> bool:
    """A truth value of the query; absent is false."""
    return query.get(name, "").lower() == "true"


def json_answer(request: Request, resource: Mapping[str, Any]) -> Response:
    """A resource, or the part of it that `fields` selects."""
    fields = request.query_params.get("fields")
    if not fields:
        return JSONResponse(dict(resource))
    try:
        return JSONResponse(selected(resource, fields))
    except FieldsError as error:
        raise ApiError(400, "invalidParameter", f"Invalid field selection {error}") from None


def etag(version: StoredVersion) -> str:
    """Changes with the content and with the metadata."""
    return base64.b64encode(f"{version.generation}/{version.metageneration}".encode()).decode()
