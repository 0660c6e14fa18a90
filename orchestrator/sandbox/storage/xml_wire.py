"""The words of the Cloud Storage XML API: documents, errors, headers of objects."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import (
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    Protected,
    StoredVersion,
)
from orchestrator.sandbox.objects.draft import Draft
from orchestrator.sandbox.storage.routing import raw_path
from orchestrator.sandbox.storage.uploads import sent_sums
from orchestrator.sandbox.storage.wire import (
    MOST_METADATA_BYTES,
    ApiError,
    check_instant,
    check_object_name,
    etag,
    metadata_bytes,
)

#: Answers about multipart uploads carry this namespace, and Google's own client looks for it.
S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
LIST_NAMESPACE = "http://doc.s3.amazonaws.com/2006-03-01"
METADATA_PREFIX = "x-goog-meta-"
#: Properties of an object as the JSON API names them, and the headers that carry them.
PROPERTY_HEADERS = {
    "cacheControl": "cache-control",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
    "customTime": "x-goog-custom-time",
}

#: A tag with its text, its children, or nothing.
Element = tuple[str, "str | int | Sequence[Element]"]

_CODES = {
    400: "InvalidArgument",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MD5 = re.compile(r"[A-Za-z0-9+/]{22}==")


class XmlError(Exception):
    """An answer in the error format of the XML API."""

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


def invalid_argument(message: str, details: str = "") -> XmlError:
    """400: the request itself is wrong."""
    return XmlError(400, "InvalidArgument", message, details)


def not_served(what: str) -> XmlError:
    """501: the real service has it, or refuses it in its own way; the sandbox does not."""
    return XmlError(501, "NotImplemented", f"The sandbox does not serve {what}.")


def error_answer(request: Request, error: Exception) -> Response:
    """Any error of the face or the disk, as the XML API would say it."""
    headers: dict[str, str] = {}
    if isinstance(error, PreconditionFailed):
        if error.unchanged and request.method in ("GET", "HEAD"):
            return Response(status_code=304)
        error = XmlError(412, "PreconditionFailed", str(error))
    elif isinstance(error, BucketMissing):
        error = XmlError(404, "NoSuchBucket", "The specified bucket does not exist.")
    elif isinstance(error, ObjectMissing):
        message = "The specified key does not exist."
        error = XmlError(404, "NoSuchKey", message, f"No such object: {error}")
    elif isinstance(error, Protected):
        error = XmlError(403, "AccessDenied", "Access denied.", str(error))
    elif isinstance(error, ApiError):
        if error.size_bytes is not None:
            headers["content-range"] = f"bytes */{error.size_bytes}"
        error = XmlError(error.status, _CODES.get(error.status, "InvalidRequest"), error.message)
    if not isinstance(error, XmlError):
        raise error
    # Google's client reads the details of every 400, so that they are never left out.
    about: list[Element] = [
        ("Code", error.code),
        ("Message", error.message),
        ("Details", error.details or error.message),
    ]
    return xml_answer("Error", about, status=error.status, headers=headers)


def xml_answer(
    tag: str,
    children: Sequence[Element],
    *,
    namespace: str = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A document as a response."""
    attribute = f' xmlns="{namespace}"' if namespace else ""
    text = f"<?xml version='1.0' encoding='UTF-8'?><{tag}{attribute}>{_inner(children)}</{tag}>"
    return Response(
        text.encode("utf-8", "replace"),
        status,
        headers,
        media_type="application/xml; charset=UTF-8",
    )


def _inner(value: str | int | Sequence[Element]) -> str:
    if isinstance(value, str | int):
        return _CONTROL.sub(lambda found: f"&#{ord(found[0])};", escape(str(value)))
    return "".join(f"<{tag}>{_inner(inner)}</{tag}>" for tag, inner in value)


def key_of(request: Request) -> str:
    """The name of the object in the path, "" for the bucket itself; slashes may be encoded."""
    return decoded(raw_path(request.scope).removeprefix("/").partition("/")[2])


def object_name_of(request: Request) -> str:
    """The name of the object in the path, if the service allows it."""
    return check_object_name(key_of(request))


def decoded(text: str) -> str:
    """Percent-encoded UTF-8 as text."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid_argument("Object names are UTF-8.") from None


def xml_etag(version: StoredVersion) -> str:
    """The MD5 of the content in hex; an opaque word if the object has no MD5."""
    if not version.md5:
        return f'"-{etag(version)}"'
    return f'"{hex_md5(version.md5)}"'


def hex_md5(md5: str) -> str:
    """Base64 as hex."""
    return base64.b64decode(md5).hex()


def written_headers(version: StoredVersion) -> dict[str, str]:
    """What the service says of an object that it has just stored."""
    sums = [f"crc32c={version.crc32c}", *([f"md5={version.md5}"] if version.md5 else [])]
    return {
        "etag": xml_etag(version),
        "x-goog-generation": str(version.generation),
        "x-goog-metageneration": str(version.metageneration),
        "x-goog-hash": ",".join(sums),
        "x-goog-stored-content-length": str(version.size_bytes),
        "x-goog-stored-content-encoding": version.properties.get("contentEncoding", "identity"),
        "x-goog-storage-class": version.storage_class,
    }


def metadata_headers(version: StoredVersion) -> dict[str, str]:
    """The custom metadata as headers, so far as headers can say it; UTF-8 travels as its bytes."""
    return {
        f"{METADATA_PREFIX}{key}": _CONTROL.sub(" ", value).strip().encode().decode("latin-1")
        for key, value in version.metadata.items()
        if _HEADER_NAME.fullmatch(key)
    }


def sent_metadata(headers: Headers) -> dict[str, str]:
    """The custom metadata in a request's headers."""
    sent = {
        name.removeprefix(METADATA_PREFIX): _utf8(value)
        for name, value in headers.items()
        if name.startswith(METADATA_PREFIX)
    }
    if metadata_bytes(sent) > MOST_METADATA_BYTES:
        message = "Your metadata headers exceed the maximum allowed metadata size."
        raise XmlError(400, "MetadataTooLarge", message)
    return sent


def sent_properties(headers: Headers) -> dict[str, str]:
    """The further properties of an object in a request's headers, as the JSON API names them."""
    sent = {name: headers[h] for name, h in PROPERTY_HEADERS.items() if h in headers}
    if "customTime" in sent:
        check_instant("x-goog-custom-time", sent["customTime"])
    return sent


def _utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def check_sums(request: Request, draft: Draft) -> None:
    """Refuse a body that does not have the checksums that were sent beside it."""
    content_md5 = request.headers.get("content-md5")
    if content_md5 is not None and not _MD5.fullmatch(content_md5):
        message = "The Content-MD5 you specified was invalid."
        raise XmlError(400, "InvalidDigest", message, content_md5)
    sums = sent_sums(request)
    for told, computed, header in (
        (content_md5, draft.md5, "MD5 you specified in Content-MD5"),
        (sums.get("md5"), draft.md5, "MD5 you specified in x-goog-hash"),
        (sums.get("crc32c"), draft.crc32c, "CRC32C you specified in x-goog-hash"),
    ):
        if told is not None and told != computed:
            message = f"The {header} did not match what we computed."
            details = f"The client sent {told}, the server computed {computed}."
            raise XmlError(400, "BadDigest", message, details)


def instant(moment: datetime) -> str:
    """A time as documents carry it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def http_date(moment: datetime) -> str:
    """A time as headers carry it."""
    return format_datetime(moment, usegmt=True)


def whole_number(query: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    """A number of the query from 0 to `most`; a greater one counts as `most`."""
    text = query.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise invalid_argument("Invalid argument.", f"Invalid {name}: {text}")
    return min(int(text), most)
