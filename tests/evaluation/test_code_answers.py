"""Programs are found in what a model said, and put behind what the task gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.evaluation.code_answers import program_of
from orchestrator.evaluation.code_tasks import Task, task_of

PROMPT = 'from typing import List\n\ndef helper(): ...\n\ndef add(a, b):\n    """Add."""\n'
ADD = Task("assert add(1, 2) == 3", ("add",), PROMPT)
PLAIN = Task("assert add(1, 2) == 3", ("add",))
WHOLE = "def add(a, b):\n    return a + b"
BODY = "    return a + b\n"


@pytest.mark.parametrize(
    ("said", "program"),
    [
        (WHOLE, WHOLE),
        (f"Sure!\n```python\n{WHOLE}\n```\nDone.", WHOLE),
        (f"```py\n{WHOLE}\n```", WHOLE),
        (f"```\n{WHOLE}\n```", WHOLE),
        (f"~~~~ python title=x\n{WHOLE}\n~~~~", WHOLE),
        (f"```python\n{WHOLE}", WHOLE),  # cut off behind the code
        (f"  ```python\n  {WHOLE.replace(chr(10), chr(10) + '  ')}\n  ```", WHOLE),
        (f"````python\n{WHOLE}\n# ```\n````", f"{WHOLE}\n# ```"),
        (f"<think>```python\nx = 1\n```</think>\n```python\n{WHOLE}\n```", WHOLE),
        (f"thought without a beginning</think>{WHOLE}", WHOLE),
        (f"```python\ndef add(a, b): ...\n```\nBetter:\n```python\n{WHOLE}\n```", WHOLE),
        (f"```python\n{WHOLE}\n```\nUse it:\n```python\nprint(add(1, 2))\n```", WHOLE),
        (f"```python\n{WHOLE}\n```\n```bash\npip install x\n```", WHOLE),
        ("```python\nadd = lambda a, b: a + b\n```", "add = lambda a, b: a + b"),
    ],
)
def test_the_last_block_that_defines_what_is_tested_is_the_program(said: str, program: str) -> None:
    assert program_of(PLAIN, said) == program


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        " \n",
        "I cannot do that.",
        "assert add(1, 2) == 3\nassert add(2, 3) == 5",
        '{"test": "x = 1"}',
        f"<think>{WHOLE}",
        f"{WHOLE}</think>",
        "```json\n{}\n```",
        "```python\n```",
        "```text\nx = 1\n```",
    ],
)
def test_an_answer_without_code_has_no_program(said: str | None) -> None:
    assert program_of(PLAIN, said) is None


def test_a_continuation_stands_behind_the_prompt_as_it_is() -> None:
    assert program_of(ADD, BODY) == PROMPT + BODY
    assert program_of(ADD, f"```python\n{BODY}```") == PROMPT + BODY.rstrip("\n")
    assert program_of(ADD, "    return x  # not def add(a)") == (
        PROMPT + "    return x  # not def add(a)"
    )


def test_of_a_prompt_that_is_written_again_only_what_was_before_it_stays() -> None:
    program = program_of(ADD, f"```python\n{WHOLE}\n```")
    assert program == f"from typing import List\n\ndef helper(): ...\n\n\n{WHOLE}"
    broken = Task("assert add(1, 2) == 3", ("add",), "import re\n\ndef add(a, b):\n")
    assert program_of(broken, WHOLE) == f"import re\n\n\n{WHOLE}"


@given(st.text(alphabet="`~ \tabpython=:.,(\n<>/think"))
def test_any_text_is_read(said: str) -> None:
    program_of(PLAIN, said)
    program_of(ADD, said)


@pytest.mark.parametrize(
    "said",
    ["```" + "a" * 200_000 + "`", "`" * 200_000 + "x`", " \t" * 100_000 + "```x",
     "a." * 100_000, "a:" + "b" * 200_000, "a : " * 50_000, "```\n" * 50_000],
)  # fmt: skip
def test_no_text_takes_long(said: str) -> None:
    program_of(PLAIN, said)


@pytest.mark.parametrize(
    ("expected", "task"),
    [
        (
            {"prompt": PROMPT, "test": "def check(f):\n    assert f(1, 2) == 3\n",
             "entry_point": "add", "task_id": "x", "canonical_solution": BODY},
            Task("def check(f):\n    assert f(1, 2) == 3\n\ncheck(add)\n", ("add",), PROMPT),
        ),
        (
            {"test_list": ["assert add(1, 2) == 3", "assert sorted([add(0, 0)]) == [0]"],
             "test_setup_code": "", "test_imports": ["import math"]},
            Task("import math\n\nassert add(1, 2) == 3\nassert sorted([add(0, 0)]) == [0]",
                 ("add",)),
        ),
        ("x = Pair(1, 2)\nfor y in [x]:\n    assert total(y) == 3",
         Task("x = Pair(1, 2)\nfor y in [x]:\n    assert total(y) == 3", ("Pair", "total"))),
    ],
)  # fmt: skip
def test_tests_are_read_as_the_data_sets_have_them(expected: object, task: Task) -> None:
    text = expected if isinstance(expected, str) else json.dumps(expected)
    assert task_of(text, "k") == task


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("", "row 7: the expected answer holds no tests"),
        ("# nothing", "row 7: the expected answer holds no tests"),
        ('{"test_list": []}', "row 7: the expected answer holds no tests"),
        ("It adds.", "row 7: the tests are no Python (line 1: invalid syntax)"),
        ("assert (", "row 7: the tests are no Python (line 1: '(' was never closed)"),
        ("assert 1\0", "row 7: the tests are no Python"),
        ("\ud800", "row 7: the tests are no Python"),
        ("-" * 100_000 + "1", "row 7: the tests are no Python"),
        ("{", "row 7: the tests are no Python"),
        ('{"test": "assert 1"}', "row 7: `entry_point` is missing"),
        ('{"test": "assert 1", "entry_point": "a b"}', "row 7: `entry_point` is 'a b', which is"),
        ('{"entry_point": "f"}', "row 7: `test` is missing"),
        ('{"test": 1, "entry_point": "f"}', "row 7: `test` is no text"),
        ('{"test": "x", "entry_point": "f", "prompt": 3}', "row 7: `prompt` is no text"),
        ('{"test_list": "assert 1"}', "row 7: `test_list` and `test_imports` are not lists"),
        ('{"test_list": [1]}', "row 7: `test_list` and `test_imports` are not lists"),
        ('{"test_list": ["x"], "test_setup_code": 3}', "row 7: `test_setup_code` is no text"),
    ],
)
def test_what_holds_no_tests_is_told_by_its_row(expected: str, words: str) -> None:
    with pytest.raises(InputError) as wrong:
        task_of(expected, "7")
    assert wrong.value.message.startswith(words)
    assert "`test_list` (MBPP)" in wrong.value.hint
