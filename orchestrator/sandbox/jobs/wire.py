"""Jobs as the service tells of them, by the Hub's public description."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.sandbox.hub.wire import hex_id, instant
from orchestrator.sandbox.jobs.records import JobRecord


def job_json(record: JobRecord, now: datetime, base_url: str) -> dict[str, Any]:
    """A job with everything but the values of its secrets."""
    request = record.request
    value: dict[str, Any] = {
        "type": "job",
        "id": record.id,
        "createdAt": instant(record.created_at),
        "command": list(request.command),
        "arguments": list(request.arguments),
        "environment": request.environment,
        "flavor": request.flavor,
        "retry": request.attempts - 1,
        "status": _status(record),
        "durations": _durations(record, now),
        "secrets": list(record.secret_names),
        "labels": record.labels,
        "owner": _party(record.namespace_type, record.namespace, base_url),
        "createdBy": {"id": hex_id(f"user/{record.creator}"), "name": record.creator},
        "initiator": _party("user", record.creator, base_url),
    }
    optional = {
        "dockerImage": request.docker_image,
        "spaceId": request.space_id,
        "arch": request.arch,
        "timeout": request.timeout_s,
        "startedAt": record.started_at and instant(record.started_at),
        "finishedAt": record.finished_at and instant(record.finished_at),
    }
    value |= {name: one for name, one in optional.items() if one is not None}
    if request.volumes:
        value["volumes"] = [one.model_dump(exclude_none=True) for one in request.volumes]
    return value


def _status(record: JobRecord) -> dict[str, Any]:
    status: dict[str, Any] = {"stage": str(record.stage), "message": record.message}
    if record.failure_count:
        status["failureCount"] = record.failure_count
    return status


def _durations(record: JobRecord, now: datetime) -> dict[str, int]:
    """Whole seconds, counted on while the job goes on."""
    end = record.finished_at or now
    started = record.started_at
    found = {"totalSecs": _seconds(record.created_at, end)}
    if started is not None:
        found["schedulingSecs"] = _seconds(record.created_at, started)
        found["runningSecs"] = _seconds(started, end)
    return found


def _seconds(begin: datetime, end: datetime) -> int:
    return max(0, int((end - begin).total_seconds()))


def _party(kind: str, name: str, base_url: str) -> dict[str, str]:
    return {
        "id": hex_id(f"{kind}/{name}"),
        "name": name,
        "type": kind,
        "avatarUrl": f"{base_url}/avatars/{name}.svg",
    }
