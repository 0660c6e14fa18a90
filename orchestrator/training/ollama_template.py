"""An Ollama TEMPLATE for a chat template, and a renderer of the part of Go's text/template it uses.

Of a chat template only the text between the contents of two messages is needed, if that text
depends on nothing but the roles of the two: it is read off conversations of sentinels. Whether it
really depends on nothing else is found by comparing renderings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "user", "assistant")
#: Where no message comes before, and where the answer begins.
START, ANSWER = "", "answer"
#: Every pair of neighbours, each in a conversation that shows it. Ollama itself joins neighbours
#: of one role.
SHAPES = (
    ("user",),
    ("system", "user"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
)
#: What is compared: longer conversations, contents with what templates like to touch.
CHECKED = (*SHAPES, (*SHAPES[2], *SHAPES[2][1:]), (*SHAPES[3], *SHAPES[2][1:]))
PLAIN = ("Where is it?\nOrder 5.", 'He said "{{ .Content }}" & <b>.', "Größe 3 × 4; 東京", "%s \\n")
#: Ways of writing that a template may change, and what is said of it then.
ALTERED = (
    ("spaces at the end of a message", " padded \n"),
    ("thoughts in <think>", "<think>\nwhy\n</think>\n\nbecause"),
)

Message = dict[str, str]
#: Renders messages as the model's chat template does, with the beginning of the answer.
Render = Callable[[Sequence[Message]], str]


class NotExpressible(Exception):
    """The chat template does what a TEMPLATE read off it cannot do."""


@dataclass(frozen=True)
class Glue:
    """The texts between contents, by the roles before and after."""

    between: dict[tuple[str, str], str]

    @property
    def has_system(self) -> bool:
        """Whether the chat template takes a system message."""
        return (START, "system") in self.between


# --- Reading the texts off ---------------------------------------------------------------------


def read_glue(render: Render) -> Glue:
    """The text between all neighbours; raises `NotExpressible` where it is not always the same."""
    between: dict[tuple[str, str], str] = {}
    for shape in SHAPES:
        try:
            parts = _split(render, shape)
        except NotExpressible:
            raise
        except Exception as error:  # templates raise whatever they like
            if "system" in shape:
                continue  # a model that takes no system message
            raise NotExpressible(f"it refuses {' '.join(shape)}: {error}") from error
        pairs = zip((START, *shape), (*shape, ANSWER), strict=True)
        for pair, text in zip(pairs, parts, strict=True):
            if between.setdefault(pair, text) != text:
                raise NotExpressible(
                    f"between {pair[0] or 'the start'} and {pair[1]} it writes {between[pair]!r} in"
                    f" one conversation and {text!r} in another"
                )
    return Glue(between)


def _split(render: Render, shape: Sequence[str]) -> list[str]:
    marks = [f"SENTINEL{number}X" for number in range(len(shape))]
    text = render(
        [{"role": role, "content": mark} for role, mark in zip(shape, marks, strict=True)]
    )
    parts = re.split("|".join(marks), text)
    if re.findall("|".join(marks), text) != marks:
        raise NotExpressible(f"it does not write the messages of {' '.join(shape)} once, in order")
    return parts


# --- Writing the TEMPLATE ----------------------------------------------------------------------


def write_template(glue: Glue, bos: str) -> str:
    """The TEMPLATE. `bos` is left out at the start: the runtime's tokenizer writes it."""
    lines = ['{{- $before := "" }}{{- range .Messages }}']
    roles = [role for role in ROLES if any(after == role for _, after in glue.between)]
    for number, role in enumerate(roles):
        word = "if" if number == 0 else "else if"
        lines.append(f'{{{{- {word} eq .Role "{role}" }}}}{_choice(glue, role, bos)}')
        lines.append("{{- .Content }}")
    lines.append("{{- end }}{{- $before = .Role }}")
    # After an assistant's turn the model goes on with it: nothing is written.
    lines.append('{{- end }}{{- if ne $before "assistant" }}' + _choice(glue, ANSWER, bos))
    template = "\n".join(lines) + "\n{{- end }}"
    if '"""' in template:
        raise NotExpressible('it writes """, which ends the TEMPLATE of a Modelfile')
    return template


def _choice(glue: Glue, after: str, bos: str) -> str:
    """The text before a role, chosen by the role before it."""
    texts = {before: text for (before, one), text in glue.between.items() if one == after}
    if START in texts and bos:
        texts[START] = texts[START].removeprefix(bos)
    by_text: dict[str, list[str]] = {}
    for before, text in texts.items():
        by_text.setdefault(text, []).append(before)
    branches = list(by_text.items())
    if len(branches) == 1:
        return _written(branches[0][0])
    written = []
    for number, (text, befores) in enumerate(branches[:-1]):
        tests = [f"eq $before {_quoted(before)}" for before in befores]
        test = tests[0] if len(tests) == 1 else "or " + " ".join(f"({one})" for one in tests)
        written.append(f"{{{{- {'if' if number == 0 else 'else if'} {test} }}}}{_written(text)}")
    return "".join([*written, "{{- else }}", _written(branches[-1][0]), "{{- end }}"])


def _written(text: str) -> str:
    """As a string of Go's: written plainly, spaces beside an action would be cut off."""
    return f"{{{{- {_quoted(text)} }}}}" if text else ""


def _quoted(text: str) -> str:
    # What JSON escapes, Go's strings escape in the same way.
    return json.dumps(text, ensure_ascii=False)


# --- Comparing ---------------------------------------------------------------------------------


def conversations() -> list[list[Message]]:
    """What both templates are given: every shape, with plain contents."""
    return [
        [
            {"role": role, "content": f"{PLAIN[(start + number) % len(PLAIN)]} ({number})"}
            for number, role in enumerate(shape)
        ]
        for shape in CHECKED
        for start in range(len(PLAIN))
    ]


def compare(template: str, glue: Glue, render: Render, bos: str) -> int:
    """How many conversations render byte-equal; raises `NotExpressible` where one does not."""
    compared = 0
    for messages in conversations():
        if messages[0]["role"] == "system" and not glue.has_system:
            continue
        expected, got = render(messages), bos + execute(template, messages)
        if got != expected:
            raise NotExpressible(f"of {messages} it makes {expected!r}, the TEMPLATE {got!r}")
        compared += 1
    return compared


def not_expressed(template: str, glue: Glue, render: Render, bos: str) -> list[str]:
    """What the chat template does and the TEMPLATE does not, in words."""
    found = [
        "tools: declarations, calls and results are not written",
        "two messages of one role in a row: Ollama joins them with an empty line",
        "a conversation that begins with the assistant",
    ]
    if not glue.has_system:
        found.append("system messages: the chat template takes none; they are left out")
    for words, content in ALTERED:
        messages = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": content},
            {"role": "user", "content": "Go on."},
        ]
        if bos + execute(template, messages) != render(messages):
            found.append(f"{words}: the chat template changes them, the TEMPLATE does not")
    return found


# --- Rendering as Go does ----------------------------------------------------------------------

_ACTION = re.compile(r"\{\{(-\s)?\s*((?:\"(?:\\.|[^\"\\])*\"|[^\"])*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r"\(|\)|\"(?:\\.|[^\"\\])*\"|[^\s()]+")


@dataclass(frozen=True)
class _Node:
    """Text, or an action with its words; `branches` are the bodies of an if or a range."""

    words: tuple[str, ...]
    text: str = ""
    branches: tuple[tuple[tuple[str, ...], tuple[_Node, ...]], ...] = ()


def execute(template: str, messages: Sequence[Message]) -> str:
    """Render a TEMPLATE with `.Messages`, as Go does.

    Knows strings, fields, variables, `if`, `else if`, `range`, `eq`, `ne`, `or` and `and`; raises
    `NotExpressible` for the rest. Judged by Go itself in the tests.
    """
    nodes, rest = _parse(list(_tokens(template)))
    if rest:
        raise NotExpressible(f"the TEMPLATE has an {rest[0].words[0]} too many")
    variables: dict[str, Any] = {}
    return "".join(_render(nodes, {"Messages": list(messages)}, variables))


def _tokens(template: str) -> Iterator[_Node]:
    place, trim = 0, False
    for action in _ACTION.finditer(template):
        text = template[place : action.start()]
        text = text.lstrip(" \t\r\n") if trim else text
        yield _Node((), text.rstrip(" \t\r\n") if action[1] else text)
        yield _Node(tuple(_WORD.findall(action[2])))
        place, trim = action.end(), bool(action[3])
    yield _Node((), template[place:].lstrip(" \t\r\n") if trim else template[place:])


def _parse(tokens: list[_Node]) -> tuple[tuple[_Node, ...], list[_Node]]:
    """The nodes up to an `else` or `end` that belongs to an action further out."""
    nodes = []
    while tokens and tokens[0].words[:1] not in (("else",), ("end",)):
        node, *tokens = tokens
        if node.words[:1] in (("if",), ("range",)):
            branches = []
            condition = node.words[1:]
            while True:
                body, tokens = _parse(tokens)
                branches.append((condition, body))
                if not tokens:
                    raise NotExpressible(f"the TEMPLATE never ends its {node.words[0]}")
                closing, *tokens = tokens
                if closing.words == ("end",):
                    break
                condition = closing.words[2:]  # of `else if`; empty for `else`
            node = _Node(node.words[:1], branches=tuple(branches))
        nodes.append(node)
    return tuple(nodes), tokens


def _render(nodes: Sequence[_Node], dot: Any, variables: dict[str, Any]) -> Iterator[str]:
    for node in nodes:
        if not node.words:
            yield node.text
        elif node.words[0] == "if":
            for condition, body in node.branches:
                if not condition or _value(condition, dot, variables):
                    yield from _render(body, dot, variables)
                    break
        elif node.words[0] == "range":
            ((condition, body),) = node.branches
            for item in _value(condition, dot, variables):
                yield from _render(body, item, variables)
        elif node.words[1:2] in ((":=",), ("=",)):
            variables[node.words[0]] = _value(node.words[2:], dot, variables)
        else:
            yield str(_value(node.words, dot, variables))


def _value(words: Sequence[str], dot: Any, variables: dict[str, Any]) -> Any:
    values: list[Any] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "(":
            end = rest.index(")")
            values.append(_value(rest[:end], dot, variables))
            del rest[: end + 1]
        elif word.startswith('"'):
            values.append(json.loads(word))
        elif word.startswith("$"):
            values.append(variables[word])
        elif word.startswith("."):
            name = word[1:]
            values.append(dot[name] if name in dot else dot[name.lower()])
        elif word in ("eq", "ne", "or", "and") and not values:
            values.append(word)
        else:
            raise NotExpressible(f"the TEMPLATE uses {word}, which is not known here")
    if len(values) == 1:
        return values[0]
    function, *arguments = values
    if function in ("eq", "ne"):
        return (arguments[0] == arguments[1]) == (function == "eq")
    return any(arguments) if function == "or" else all(arguments)
