"""The Jinja of chat templates as the transformers library runs it, without importing that library.

Templates come from the Hub and are untrusted code: they run in Jinja's immutable sandbox.
Importing this costs a Jinja; import it inside the function that renders.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import Environment, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from orchestrator.dataset.tokens.macros import pure_macros

#: What `strftime_now` answers, so that a render does not depend on the day.
TODAY = datetime(2024, 7, 26, tzinfo=UTC)
#: How many tools are remembered before all is forgotten.
_MOST_CONSTANTS = 256
_MOST_MADE = 4096
#: What Jinja's compiler adds to calls inside loops and blocks; macros never see it.
_JINJAS_OWN = {"_loop_vars", "_block_vars"}
_DICT_ATTRIBUTES = frozenset(dir(dict))


class Memory:
    """What macros and `tojson` made of values that are the same in row after row.

    Tools of hundreds of tokens are rendered into every row; this renders them once. Values are
    known by identity and kept alive here, so that no other value can take that identity.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}
        self._inside: set[int] = set()
        self._made: dict[Any, str] = {}

    def keep(self, value: Any) -> None:
        """Remember what is made of this value, which nobody changes from here on."""
        if id(value) in self._kept:
            return
        if len(self._kept) >= _MOST_CONSTANTS:
            self._kept.clear()
            self._inside.clear()
            self._made.clear()
        self._kept[id(value)] = value
        self._inside.update(map(id, _containers(value)))

    def keeps(self, value: Any) -> bool:
        """Whether this is a mapping or list that nobody changes."""
        return id(value) in self._inside

    def key_of(self, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What stands for these arguments, or None unless one is kept and the others are plain."""
        if not any(id(value) in self._inside for value in arguments):
            return None
        key: list[Any] = []
        for value in arguments:
            kind = type(value)
            if id(value) in self._inside:
                key.append((dict, id(value)))
            elif kind in (str, int, bool, type(None)):
                key.append((kind, value))
            elif kind is Undefined:
                key.append((Undefined, 0))
            else:
                return None
        return tuple(key)

    def made(self, key: Any, make: Callable[[], str]) -> str:
        """What `make` made for this key before, or makes now."""
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            found = self._made[key] = make()
        return found


def _containers(value: Any) -> Iterator[Any]:
    """All mappings and lists in a JSON value, itself included."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _containers(item)
    elif isinstance(value, list):
        yield value
        for item in value:
            yield from _containers(item)


class _Generation(Extension):
    """`{% generation %}` marks what is trained on; it renders as if it were not there.

    A call block rather than the bare body, because names that are set inside do not leave it.
    """

    tags = {"generation"}  # noqa: RUF012 (Jinja's own declaration)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_through"), [], [], body).set_lineno(line)

    def _through(self, caller: Macro) -> str:
        return str(caller())


class _Namespace(Namespace):
    """A namespace that cannot hold Python's inner attributes."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # any keyword is a name of the template's
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            _refuse_inner(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_inner(name)
        super().__setitem__(name, value)


def _refuse_inner(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot have an attribute {name!r}")


class _Dict:
    """`dict(...)` for templates, without the type's other attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return TODAY.strftime(form)


class _ChatEnvironment(ImmutableSandboxedEnvironment):
    """Jinja as transformers sets it up, with a memory for macros that depend on nothing else."""

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        self.memory = Memory()
        self.pure: frozenset[str] = frozenset()
        self.filters["tojson"] = self._tojson
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        def dump() -> str:
            return json.dumps(
                value,
                ensure_ascii=ensure_ascii,
                indent=indent,
                separators=separators,
                sort_keys=sort_keys,
            )

        if not self.memory.keeps(value) or isinstance(separators, list):
            return dump()
        key = ("tojson", id(value), ensure_ascii, indent, separators, sort_keys)
        return self.memory.made(key, dump)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 (Jinja's own signature: any keyword may be the template's)
        self = __self
        call = super().call
        is_plain = not kwargs or kwargs.keys() <= _JINJAS_OWN
        if is_plain and type(__obj) is Macro and __obj.name in self.pure:
            key = self.memory.key_of(args)
            if key is not None:
                return self.memory.made(
                    (__obj.name, *key), lambda: str(call(__context, __obj, *args))
                )
        return call(__context, __obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`message.role`: for a key of a mapping the same as Jinja's own, without its detours."""
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


class CompiledTemplate:
    """A chat template, ready to render. Raises Jinja's TemplateSyntaxError."""

    def __init__(self, text: str) -> None:
        self._environment = _ChatEnvironment()
        self._environment.pure = pure_macros(self._environment.parse(text))
        self._template = self._environment.from_string(text)
        # Every render copies them, which takes far longer from the chain that Jinja makes.
        self._template.globals = dict(self._template.globals)
        self._lock = threading.Lock()

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool,
        special_tokens: dict[str, str],
    ) -> str:
        """The text of these messages. Raises whatever the template raises."""
        with self._lock:
            for tool in tools or ():
                self._environment.memory.keep(tool)
            return self._template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **special_tokens,
            )


@functools.lru_cache(maxsize=64)
def compiled(text: str) -> CompiledTemplate:
    """The template with this text, compiled once."""
    return CompiledTemplate(text)


@functools.lru_cache(maxsize=64)
def literals(text: str) -> tuple[str, ...]:
    """All that a template itself can write: its text outside of tags, and its string constants."""
    tree = Environment(extensions=[_Generation, loopcontrols], autoescape=False).parse(text)  # noqa: S701 (text for a tokenizer, not HTML)
    found = [node.data for node in tree.find_all(nodes.TemplateData)]
    constants = (node.value for node in tree.find_all(nodes.Const))
    return tuple(found + [value for value in constants if isinstance(value, str)])
