"""The JSON Schema of a spec says what the model that reads specs says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from orchestrator.cli import run
from orchestrator.data_files import data_folder, schema
from orchestrator.shipped import MODELINE, shipped_names
from orchestrator.spec import JobSpec
from orchestrator.spec_schema import job_schema, job_schema_text
from orchestrator.yaml_places import load_yaml

BASE = {"version": 1, "name": "router", "base_model": "meta/llama3_1@llama-3.1-8b-instruct"}
SCHEMA = job_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def tuples(value: Any) -> Any:
    """Lists as the tuples that the strict model takes."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def problems(value: Any) -> set[tuple[str, str]]:
    """Kind and field of all that the model refuses."""
    try:
        JobSpec.model_validate(tuples(value))
    except ValidationError as error:
        return {(found["type"], ".".join(map(str, found["loc"]))) for found in error.errors()}
    return set()


def model_refuses(value: Any) -> bool:
    return bool(problems(value))


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema, or the definition that it points to."""
    if "$ref" not in part:
        return part
    definition: dict[str, Any] = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]]
    return definition


def fields(part: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field with its path, blocks and those in them too."""
    for choice in (part, *part.get("anyOf", [])):
        for name, field in resolved(choice).get("properties", {}).items():
            yield f"{path}{name}", field
            yield from fields(field, f"{path}{name}.")


FIELDS = dict(fields(SCHEMA))


def model_fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from model_fields(kind, f"{path}{name}.")


# ------------------------------------------------------------------------------ what it looks like


def test_the_schema_in_the_tree_is_the_one_that_the_model_gives() -> None:
    file = data_folder("schemas") / "job.schema.json"
    assert file.read_text(encoding="utf-8") == job_schema_text(), (
        "renew it: orchestrator schema --out schemas/job.schema.json"
    )


def test_it_is_a_sound_schema_with_an_address_of_its_own() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    ids = {schema(name)["$id"] for name in ("route-plan", "prompt-completion", "job")}
    assert len(ids) == 3
    assert SCHEMA["$id"].endswith("/job.schema.json")


def test_it_has_every_field_of_the_model_and_no_other() -> None:
    assert set(FIELDS) == set(model_fields(JobSpec))
    assert "tuning.learning_rate_multiplier" in FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_described_and_its_examples_and_default_are_sound(name: str) -> None:
    field = FIELDS[name]
    description = field.get("description") or resolved(field)["description"]
    assert description.endswith(".")
    assert "title" not in field
    validator = VALIDATOR.evolve(schema={**field, "$defs": SCHEMA["$defs"]})
    for value in (*field.get("examples", []), *[field[k] for k in ("default",) if k in field]):
        validator.validate(value)


def test_a_value_that_people_must_choose_themselves_has_an_example() -> None:
    open_ended = {"integer", "number", "string"}
    for name, field in FIELDS.items():
        kinds = {choice.get("type") for choice in field.get("anyOf", [field])}
        if kinds & open_ended and not {"enum", "const"} & set(field):
            assert field.get("examples"), name


# ------------------------------------------------------------------------------------- the command


def test_the_command_prints_it_or_writes_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["schema"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == SCHEMA
    assert printed.err == ""
    file = tmp_path / "new" / "job.schema.json"
    assert run(["schema", "--out", str(file)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert str(file) in told.err
    assert file.read_text(encoding="utf-8") == printed.out
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("name", ["prompt-completion", "route-plan"])
def test_the_schemas_that_rows_and_answers_must_follow_are_printed_by_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out) == schema(name)


def test_a_schema_that_there_is_not_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["schema", "../job"]) == 2
    assert "Schemas: chat, instruction, job," in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_no_bug(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert run(["schema", "--out", str(tmp_path / "file" / "x.json")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_it_is_written_through_a_link_and_into_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert run(["schema", "--out", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "target").read_text(encoding="utf-8")) == SCHEMA
    assert run(["schema", "--out", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


# --------------------------------------------------------------------------- what it says of specs


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_spec_follows_it_and_says_where_it_is(name: str) -> None:
    file = shipped_names()[name]
    first, *_ = file.read_text(encoding="utf-8").splitlines()
    assert first.startswith(MODELINE)
    pointed_at = file.parent / first.removeprefix(MODELINE)
    assert json.loads(pointed_at.read_text(encoding="utf-8")) == SCHEMA
    # Read as an editor does, and as this program does.
    for value in (yaml.safe_load(file.read_bytes()), load_yaml(file).value):
        VALIDATOR.validate(value)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"version": 2},
        {"version": True},
        {"version": "1"},
        {"name": 3},
        {"name": "A b"},
        {"name": None},
        {"base_model": ["a"]},
        {"seed": "3"},
        {"seed": True},
        {"seed": 1.5},
        {"seed": -1},
        {"seed": 2**32},
        {"service": "vertex"},
        {"service": None},
        {"service": {"name": "sagemaker"}},
        {"service": {"region": "x"}},
        {"data": {"format": ["chat"]}},
        {"data": {"answer": 7}},
        {"data": {"path": 3}},
        {"data": {"split": {"trian": 0.5}}},
        {"data": {"split": {"train": 0, "validation": 1, "test": 0}}},
        {"data": {"split": {"train": "0.5"}}},
        {"tuning": {"mode": "lora"}},
        {"tuning": {"rank": 0}},
        {"tuning": {"rank": "16"}},
        {"tuning": {"epochs": 101}},
        {"tuning": {"epochs": True}},
        {"tuning": {"learning_rate": 2}},
        {"tuning": {"learning_rate": 0}},
        {"tuning": {"learning_rate": True}},
        {"tuning": {"learning_rate_multiplier": "0.7"}},
        {"tuning": {"learning_rate_multiplier": 1000}},
        {"publish": {}},
        {"publish": {"repo": "a b"}},
        {"publish": {"repo": "a--b"}},
        {"publish": {"repo": "ns/a.git"}},
        {"publish": {"repo": "a..b"}},
        {"publish": {"repo": "a", "private": 1}},
        {"publish": {"repo": "a", "tags": "router"}},
        {"publish": {"repo": "a", "tags": [1]}},
        {"publish": []},
        {"max_attempts": 11},
        {"on_uncertain": False},
        {"stand_in": {"max_length": 8}},
        {"stand_in": {"learning_rate": 2}},
    ],
    ids=str,
)
def test_what_the_model_refuses_by_key_type_or_range_the_schema_refuses(
    change: dict[str, Any],
) -> None:
    value = {**BASE, **change}
    assert model_refuses(value)
    assert not VALIDATOR.is_valid(value)


@pytest.mark.parametrize("missing", BASE)
def test_what_must_be_given_must_be_given_to_both(missing: str) -> None:
    value = {key: item for key, item in BASE.items() if key != missing}
    assert model_refuses(value)
    assert not VALIDATOR.is_valid(value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"data": {"split": {"train": 0.5}}}, "a sum"),
        ({"tuning": {"learning_rate": 0.01, "learning_rate_multiplier": 1}}, "two fields at odds"),
        ({"tuning": {"mode": "full", "rank": 8}}, "two fields at odds"),
        ({"seed": 1.0}, "to JSON, 1.0 is a whole number"),
    ],
)
def test_what_only_check_can_say_is_known(change: dict[str, Any], why: str) -> None:
    """The gaps between the two, by name: one that closes or opens is noticed here."""
    value = {**BASE, **change}
    assert model_refuses(value)
    assert VALIDATOR.is_valid(value), why


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.floats(-1, 200).filter(lambda value: not value.is_integer()),
    st.sampled_from(["peft", "full", "vertex", "hold", "text", "a", "a/b", "a--b", "x y", ""]),
    st.lists(st.sampled_from(["a", 1, None]), max_size=2),
    st.just({}),
)


def put(value: dict[str, Any], path: str, item: Any) -> dict[str, Any]:
    """A copy of `value` with one field set, blocks above it made where they are missing."""
    first, _, rest = path.partition(".")
    inner = value.get(first)
    block = inner if isinstance(inner, dict) else {}
    return {**value, first: put(block, rest, item) if rest else item}


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), ODD, max_size=3))
@example({"publish.repo": "a", "publish.tags": []})
@example({"tuning.rank": 200})
def test_whatever_stands_in_the_fields_both_agree(found: dict[str, Any]) -> None:
    value: dict[str, Any] = dict(BASE)
    for path, item in sorted(found.items()):
        value = put(value, path, item)
    if VALIDATOR.is_valid(value):
        # Only rules that span fields may be left to `check`.
        assert problems(value) <= {("value_error", "data.split"), ("value_error", "tuning")}
    else:
        assert model_refuses(value)
