"""YAML with the place of every value, so that an error can name file and line.

PyYAML composes the nodes (they carry lines and columns) and constructs the scalars. Three of its
defaults are mended: a repeated key is an error, `1e-4` is a number, as in YAML 1.2, and what YAML
1.1 reads as a number in base 8 or 60 (`012`, `1:30`) is an error, because hardly anybody means it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import InputError, Place

#: Keys and list positions from the top of the document down to a value.
Path_ = tuple[str | int, ...]

_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]")
_MAX_NODES = 100_000
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MAX_DEPTH = 50
_TOO_LARGE = "too deeply nested or too large"
_SIMPLIFY = "Remove repeated aliases and needless nesting."
_CORRECT = "Correct it: `key: value` lines, with blocks indented by spaces."
_ENDLESS = "found unexpected end of stream"
_WHAT_TO_DO = {
    _ENDLESS: "Close the quote that begins here.",
    "found character that cannot start any token": "Put a value that starts so in quotes.",
    "found unknown escape character": "Use single quotes, where a backslash is only a backslash.",
}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A YAML document: its value, and where each value and each key stands."""

    file: str
    value: Any
    values: dict[Path_, Place]
    keys: dict[Path_, Place]

    def place(self, path: Path_) -> Place:
        """Where the value stands; for a value that is absent, where its nearest parent does."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.values:
                return self.values[path[:end]]
        return Place(self.file)

    def key_place(self, path: Path_) -> Place:
        """Where the key of a mapping stands."""
        return self.keys.get(path) or self.place(path)


def load_yaml(file: Path, name: str | None = None) -> Document:
    """Read a YAML file; `name` is how messages call it. Raises `InputError` with the place."""
    name = name or str(file)
    return parse_yaml(read_text(file, name), name)


def read_text(file: Path, name: str) -> str:
    """The text of a file that the user named, or an error that says what it is instead."""
    try:
        raw = file.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{name} is a folder, not a file", hint="Give the file itself.") from None
    except FileNotFoundError:
        raise InputError(f"there is no file {name}", hint="Check the path.") from None
    except OSError as error:
        hint = "Check the path and the rights to read it."
        raise InputError(f"cannot read {name}: {error.strerror}", hint=hint) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"byte {error.start} is not UTF-8",
            where=Place(name, line),
            hint="Save the file as UTF-8.",
        ) from None


def parse_yaml(text: str, name: str) -> Document:
    """Parse one YAML document; `name` stands for the file in messages."""
    loader = _Loader(text)
    walk = _Walk(loader, name)
    try:
        _check_depth(text, name)
        node = loader.get_single_node()
        value = walk.construct(node, (), 0) if node is not None else None
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, name) from None
    finally:
        loader.dispose()
    return Document(name, value, walk.values, walk.keys)


def _not_yaml(error: yaml.YAMLError, text: str, name: str) -> InputError:
    where, reason, hint = Place(name), str(error), _CORRECT
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if error.problem == _ENDLESS:  # where the quote was opened tells more than the file's end
            mark = error.context_mark or mark
        where = _place(mark, name) if mark else where
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        at_mark = text[mark.index : mark.index + 1] if mark else ""
        hint = _hint(error.problem or "", at_mark, is_json=text.lstrip()[:1] in ("{", "["))
    elif isinstance(error, yaml.reader.ReaderError):
        # The C loader counts the bytes of the text in UTF-8.
        before = text.encode()[: error.position]
        where = Place(name, before.count(b"\n") + 1)
        reason, hint = error.reason, f"Remove the character U+{error.character:04X}."
    return InputError(f"not valid YAML: {reason}", where=where, hint=hint)


def _hint(problem: str, at_mark: str, *, is_json: bool) -> str:
    """What to do about a problem of the parser, which stopped at the character `at_mark`."""
    if "tab character" in problem or at_mark == "\t":
        return "Indent with spaces instead of tabs."
    if is_json and "<document start>" in problem:
        return "If these are rows: name the spec here, and give the rows with --data FILE."
    return _WHAT_TO_DO.get(problem, _CORRECT)


def _check_depth(text: str, name: str) -> None:
    """Refuse deep nesting before nodes are composed: the C loader recurses until it crashes."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise InputError(_TOO_LARGE, where=_place(event.start_mark, name), hint=_SIMPLIFY)


def _place(mark: Any, file: str) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)


class _Walk:
    def __init__(self, loader: Any, file: str) -> None:
        self._loader = loader
        self._file = file
        self._nodes = 0
        self.values: dict[Path_, Place] = {}
        self.keys: dict[Path_, Place] = {}

    def _place(self, node: yaml.Node) -> Place:
        return _place(node.start_mark, self._file)

    def construct(self, node: yaml.Node, path: Path_, depth: int) -> Any:
        self._nodes += 1
        # Aliases can repeat a part without end; no honest spec comes near these numbers.
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise InputError(_TOO_LARGE, where=self._place(node), hint=_SIMPLIFY)
        self.values[path] = self._place(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.construct(item, (*path, index), depth + 1)
                for index, item in enumerate(node.value)
            ]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path_, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(
                    "a key must be a word",
                    where=self._place(key_node),
                    hint="Write `key: value`; put a key that starts with a bracket in quotes.",
                )
            key = str(key_node.value)
            if key in result:
                first = self.keys[(*path, key)]
                raise InputError(
                    f"`{key}` is given twice (first on line {first.line})",
                    where=self._place(key_node),
                    hint="Remove one of them.",
                )
            self.keys[(*path, key)] = self._place(key_node)
            result[key] = self.construct(value_node, (*path, key), depth + 1)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag == "tag:yaml.org,2002:str":
            plain = getattr(node, "style", None) in (None, "")
            if not (plain and _FLOAT.fullmatch(node.value)):
                return node.value
            self._refuse_misread(node)
            return float(node.value)
        if node.tag in _NUMBERS:
            self._refuse_misread(node)
        try:
            return self._loader.construct_object(node)
        # PyYAML looks a value with an explicit tag up, or matches it, without checking first.
        except (ValueError, LookupError, AttributeError) as error:
            reason = str(error) if isinstance(error, ValueError) else f"it is not a {node.tag[18:]}"
            raise InputError(
                f"cannot read this value: {reason}",
                where=self._place(node),
                hint="Correct it, or put it in quotes if it is meant as text.",
            ) from None

    def _refuse_misread(self, node: yaml.Node) -> None:
        """A number that YAML 1.1 takes for another one than people do."""
        if ":" in node.value:
            reason = f"`{node.value}` would be read as a number in base 60"
        elif _LEADING_ZERO.match(node.value):
            reason = f"`{node.value}` starts with a zero, as numbers in base 8 do"
        else:
            return
        raise InputError(
            reason,
            where=self._place(node),
            hint="Write a plain decimal number, or put it in quotes if it is meant as text.",
        )
