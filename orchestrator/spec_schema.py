"""The JSON Schema of a spec, made from the model that reads specs, for editors and other programs.

It says what the model says of types, keys, choices and ranges. `check` says the rest: that the
shares of the split add up to 1, for example, or that a rate and its multiplier are not both given.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from orchestrator.spec import JobSpec

SCHEMA_NAME = "job"
SCHEMA_FILE = f"{SCHEMA_NAME}.schema.json"
_ID = f"https://orchestrator.invalid/schemas/{SCHEMA_FILE}"


class _Generator(GenerateJsonSchema):
    """Without a title for each field: it only repeats the field's name."""

    def field_title_should_be_set(
        self,
        schema: Any,  # noqa: ARG002 (pydantic's signature)
    ) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        # An editor offers defaults to be typed: none and whole blocks are only noise there.
        result = super().default_schema(schema)
        if result.get("default") is None or isinstance(result["default"], dict):
            result.pop("default", None)
        return result

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        result = super().model_schema(schema)
        result.pop("title", None)
        return result


def job_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a spec."""
    body = JobSpec.model_json_schema(schema_generator=_Generator)
    head = {"$schema": _Generator.schema_dialect, "$id": _ID, "title": "A fine-tuning job"}
    definitions = body.pop("$defs")
    return {**head, **body, "$defs": definitions}


def job_schema_text() -> str:
    """The schema as it stands in a file."""
    return json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"
