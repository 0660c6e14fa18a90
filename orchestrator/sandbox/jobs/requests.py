"""What a client asks for when it creates a job, held to the Hub's public description."""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from orchestrator.sandbox.hub.wire import HubError
from orchestrator.sandbox.jobs.hardware import FLAVORS

_LARGEST = 9007199254740991
_EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][_a-zA-Z0-9]+$")]
_SecretName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][_a-zA-Z0-9]*$")]
_LabelKey = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-zA-Z0-9._-]+$")]
_LabelValue = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-zA-Z0-9._-]*$")]
Labels = dict[_LabelKey, _LabelValue]
#: What the service offers and this face does not, by the field that asks for it.
_UNSERVED = {
    "expose": "ports are not exposed",
    "ssh": "there is no SSH",
    "network": "jobs have no network of their own",
    "resourceGroupId": "there are no resource groups",
}


class VolumeRequest(BaseModel):
    """Something that the job sees as a folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["bucket", "model", "dataset", "space"]
    source: str
    mountPath: Annotated[str, StringConstraints(pattern=r"^/.*")]  # noqa: N815 (the wire's name)
    revision: str | None = None
    readOnly: bool | None = None  # noqa: N815 (the wire's name)
    path: str | None = None


class JobRequest(BaseModel):
    """The body of POST `/api/jobs/{namespace}`, by the names of the wire, without its secrets."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    space_id: str | None = Field(None, alias="spaceId")
    docker_image: str | None = Field(None, alias="dockerImage")
    command: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[_EnvironmentName, str] = {}
    flavor: str
    arch: Literal["amd64", "arm64"] | None = None
    timeout_s: Annotated[int, Field(gt=0, le=_LARGEST)] | None = Field(None, alias="timeoutSeconds")
    attempts: Annotated[int, Field(ge=1, le=_LARGEST)] = 1
    volumes: tuple[VolumeRequest, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Command and arguments, as they are run."""
        return (*self.command, *self.arguments)


class _Body(JobRequest):
    secrets: dict[_SecretName, str] = {}
    labels: Labels = {}


class LabelsBody(BaseModel):
    """The body of PUT `/labels`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    labels: Labels


def read_request(body: dict[str, Any]) -> tuple[JobRequest, dict[str, str], dict[str, str]]:
    """The request, the secrets and the labels of a body; raises `HubError` as the service would.

    The wording of refusals is ours: the description has the rules, not the messages.
    """
    try:
        given = _Body.model_validate(body, strict=False)
    except ValidationError as error:
        raise _refusal(error) from None
    if given.flavor not in FLAVORS:
        raise HubError(400, f"flavor: must be one of {', '.join(FLAVORS)}")
    for name, why in _UNSERVED.items():
        if body.get(name) not in (None, {"enabled": False}):
            raise HubError(501, f"{name}: the sandbox does not serve this: {why}")
    if (given.space_id is None) == (given.docker_image is None):
        raise HubError(400, "Either dockerImage or spaceId must be given")
    if not given.words:
        raise HubError(501, "command: the sandbox has no images, so a command must be given")
    for volume in given.volumes:
        if volume.type not in ("model", "dataset"):
            raise HubError(501, f"volumes: the sandbox does not serve {volume.type}s")
        if posixpath.normpath(volume.mountPath) != volume.mountPath.rstrip("/"):
            raise HubError(400, f"volumes: {volume.mountPath} is not a folder of its own")
        if volume.readOnly is False:
            raise HubError(400, f"volumes: {volume.type} repositories are mounted read-only")
    places = [volume.mountPath.rstrip("/") for volume in given.volumes]
    if len(set(places)) < len(places):
        raise HubError(400, "volumes: two have the same mountPath")
    request = JobRequest.model_validate(given.model_dump(exclude={"secrets", "labels"}))
    return request, dict(given.secrets), dict(given.labels)


def read_labels(body: dict[str, Any]) -> dict[str, str]:
    """The labels of a change."""
    try:
        return dict(LabelsBody.model_validate(body).labels)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> HubError:
    lines = [
        # The value is not repeated: it may be a secret.
        f"{'.'.join(str(part) for part in one['loc'] if part != '[key]')}: {one['msg']}"
        for one in error.errors(include_input=False, include_url=False)
    ]
    return HubError(400, "; ".join(lines))
