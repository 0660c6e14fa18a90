"""Whatever a spec says of its rows, their tools and answers: findings or one message."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.fuzzing import (
    FORMATS,
    PLAN,
    ROWS,
    TOOLS,
    VALUES,
    Job,
    behaved,
    changed,
    damaged,
    jsonl,
)

MORE = int(os.environ.get("ORCHESTRATOR_FUZZ", "1"))
CALLING = ("chat", "tool-calls", "routing")
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["route_plan"],
    "properties": {
        "route_plan": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1},
        "difficulty": {"enum": ["introductory", "advanced"]},
        "todo_list": {"anyOf": [{"type": "string"}, {"type": "array"}]},
    },
    "$defs": {"step": {"type": "string", "pattern": "^/[a-z-]+\\(", "title": "a step"}},
}
_FIELDS = st.sampled_from(
    [
        *(name for rows in ROWS.values() for row in rows for name in row),
        *("a.b", "messages.0.content", "metrics.primary", ".", "", "body.messages", "é", "{x}"),
    ]
)
_TEMPLATES = st.one_of(
    st.text(alphabet="{}ab!:[]. \n%", max_size=12),
    st.builds("Say {{{}}} and {{{{{}}}}}".format, _FIELDS, _FIELDS),
    st.builds("{{{}}}".format, _FIELDS),
    st.sampled_from(
        ["{", "}", "{}", "{0}", "{prompt!r}", "{prompt:>9}", "{prompt.x}", "{{", "{{}}"]
    ),
)


@settings(max_examples=50 * MORE)
@given(st.data())
def test_files_of_tools(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(CALLING))
    sound = json.dumps(TOOLS, indent=1).encode()
    content = data.draw(
        st.one_of(
            st.binary(max_size=60),
            damaged(sound),
            changed(TOOLS, 3).map(lambda tools: json.dumps(tools).encode()),
            VALUES.map(lambda value: json.dumps(value).encode()),
        )
    )
    rows = [row for row in ROWS[form] if "tools" not in row] + ROWS[form]
    behaved(Job(form, jsonl(rows), more={"tools": "tools.json"}, files={"tools.json": content}))


@settings(max_examples=50 * MORE)
@given(st.data())
def test_tools_in_rows(data: st.DataObject) -> None:
    row = ROWS["chat"][0]
    tools = data.draw(changed(TOOLS, 3))
    row = row | {"tools": data.draw(st.sampled_from([tools, json.dumps(tools)]))}
    behaved(Job("chat", jsonl([row, row])))


@settings(max_examples=60 * MORE)
@given(st.data())
def test_schemas_of_answers(data: st.DataObject) -> None:
    content = data.draw(
        st.one_of(
            st.binary(max_size=60),
            damaged(json.dumps(SCHEMA).encode()),
            changed(SCHEMA, 3).map(lambda schema: json.dumps(schema).encode()),
            VALUES.map(lambda value: json.dumps(value).encode()),
        )
    )
    answers = [PLAN, data.draw(changed(PLAN)), data.draw(VALUES)]
    rows = [{"prompt": f"Plan {n}", "completion": json.dumps(a)} for n, a in enumerate(answers)]
    behaved(Job(rows=jsonl(rows), answer="./answer.json", files={"answer.json": content}))


@settings(max_examples=80 * MORE)
@given(st.data())
def test_mappings(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    texts = st.one_of(st.text(max_size=8), st.sampled_from(["", " ", "{x}", "\x00", "<think>"]))
    mapping = data.draw(
        st.one_of(
            st.fixed_dictionaries(
                {},
                optional={
                    "columns": st.dictionaries(_FIELDS, st.one_of(_FIELDS, texts), max_size=3),
                    "system": texts,
                    "developer": texts,
                    "template": _TEMPLATES,
                    "think": _FIELDS,
                },
            ),
            VALUES,
        )
    )
    command = data.draw(st.sampled_from(["check", "check", "prepare"]))
    behaved(Job(form, jsonl(ROWS[form]), more={"mapping": mapping}), command)


@settings(max_examples=60 * MORE)
@given(st.data())
def test_other_parts_of_the_data_block(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    shares = st.one_of(st.sampled_from([0, 1, 2, 0.5, 0.25, 1.0, 10**12]), st.floats(0, 1))
    names = st.sampled_from(["rows.jsonl", "spec.yaml", "nothing", ".", "gs://b/x", "hf://x", ""])
    splits = st.one_of(
        st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(("train", "validation", "test"), shares),
                "stratify_by": _FIELDS,
                "files": st.fixed_dictionaries(
                    {"train": names}, optional={"validation": names, "test": names}
                ),
            },
        ),
        VALUES,
    )
    more: dict[str, Any] = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "split": splits,
                "subset": st.one_of(
                    st.fixed_dictionaries(
                        {"rows": st.integers(-1, 9)},
                        optional={"by": st.sampled_from(["reservoir", "head", ""])},
                    ),
                    VALUES,
                ),
                "near_duplicates": st.one_of(st.floats(0.4, 1.1), VALUES),
                "redact": st.one_of(st.booleans(), VALUES),
                "tools": st.one_of(names, VALUES),
                "answer": st.one_of(names, st.sampled_from(["routes", "text", "a.json"]), VALUES),
                "format": st.one_of(names, st.sampled_from(["chats", "a.py", *FORMATS]), VALUES),
            },
        )
    )
    split: Any = more.get("split")
    if isinstance(split, dict) and "files" in split:
        more["path"] = None
    command = data.draw(st.sampled_from(["check", "prepare"]))
    behaved(Job(form, jsonl(ROWS[form] * 3), more=more), command)
