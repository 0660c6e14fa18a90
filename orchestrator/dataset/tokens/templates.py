"""Chat templates: where a model's comes from, and what it makes of a chat."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.dataset.example import Message, Tool
from orchestrator.dataset.rules import TokenRules
from orchestrator.errors import InputError, Place

#: Whose a template is, in the words of messages.
MODELS_OWN = "the model's own"
FIXTURE = "this project's fixture"

_SPECIAL_TOKENS = tuple(
    f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
)


class TemplateRefusal(Exception):
    """A chat template does not take a chat; the message says why, in the template's words."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the special tokens that it may write.

    `source` says whose it is. `tool_use` is the text for chats with tools, where a model has one
    apart. Nothing rendered depends on the day: `strftime_now` is fixed.
    """

    text: str
    source: str
    special_tokens: tuple[tuple[str, str], ...] = ()
    tool_use: str | None = None

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool], *, add_generation_prompt: bool
    ) -> str:
        """The text of these messages, as transformers' `apply_chat_template` makes it.

        Raises `TemplateRefusal`. A tool's declaration must not be changed after its first render.
        """
        from orchestrator.dataset.tokens.jinja_rendering import compiled

        template = compiled(self.text_for(tools))
        try:
            return template.render(
                [_as_template_message(message) for message in messages],
                [tool.declaration for tool in tools] or None,
                add_generation_prompt=add_generation_prompt,
                special_tokens=dict(self.special_tokens),
            )
        except Exception as error:  # templates raise whatever they like
            raise TemplateRefusal(str(error) or type(error).__name__) from error

    def text_for(self, tools: Sequence[Tool]) -> str:
        """The template's text for chats with or without tools."""
        return self.tool_use if tools and self.tool_use is not None else self.text


def _as_template_message(message: Message) -> dict[str, Any]:
    """A message as the prepared rows have it, with what transformers adds before it renders."""
    found: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.thinking:
        # Two names for the same: templates read the one or the other.
        found["reasoning_content"] = found["thinking"] = message.thinking
    if message.calls:
        found["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.name:
        found["name"] = message.name
    return found


def find_template(tokens: TokenRules) -> ChatTemplate | None:
    """The template of a model: the one that is named, or the tokenizer's own; None without one.

    Raises `InputError` if a file cannot be read or is no Jinja.
    """
    config = _tokenizer_config(tokens.tokenizer)
    special = _special_tokens(tokens.tokenizer, config)
    if tokens.template is not None:
        text = _read(tokens.template)
        found = ChatTemplate(text, tokens.template_source, special)
        _check_syntax(text, str(tokens.template))
        return found
    named = _own_templates(tokens.tokenizer, config)
    if "default" not in named:
        return None
    for text in named.values():
        _check_syntax(text, str(tokens.tokenizer))
    return ChatTemplate(named["default"], MODELS_OWN, special, named.get("tool_use"))


def template_file(name: str) -> Path | None:
    """The file of a template by the catalog's name; None if it is not on this machine.

    `trl:NAME` is one that the TRL library ships, `fixture:NAME` one of this project. TRL is found
    without importing it, which takes seconds.
    """
    kind, _, rest = name.partition(":")
    folder = {"fixture": lambda: Path(__file__).parent, "trl": _trl_folder}.get(
        kind, lambda: None
    )()
    if folder is None or not rest.replace("_", "").replace(".", "").isalnum():
        return None
    file = folder / f"{rest}.jinja"
    return file if file.is_file() else None


def template_source(name: str) -> str:
    """Whose a template of the catalog is: "as TRL 1.16.0 ships it", "this project's fixture"."""
    if name.startswith("trl:"):
        try:
            return f"as TRL {importlib.metadata.version('trl')} ships it"
        except importlib.metadata.PackageNotFoundError:
            return "as TRL ships it"
    return FIXTURE


def _trl_folder() -> Path | None:
    import importlib.util

    found = importlib.util.find_spec("trl")  # finds the package without running it
    if found is None or found.origin is None:
        return None
    return Path(found.origin).with_name("chat_templates")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read the chat template {file}: {error.strerror}",
            hint="Check `chat_template:` in the spec.",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the chat template {file} is not UTF-8 text: {error.reason}",
            hint="A chat template is a text file with Jinja in it.",
        ) from error


def _check_syntax(text: str, file: str) -> None:
    from jinja2 import TemplateSyntaxError

    from orchestrator.dataset.tokens.jinja_rendering import compiled

    try:
        compiled(text)
    except TemplateSyntaxError as error:
        raise InputError(
            f"the chat template is no Jinja: {error.message}",
            where=Place(file, error.lineno),
            hint="Take the template from the model's repo unchanged.",
        ) from error


def _tokenizer_config(folder: Path | None) -> dict[str, Any]:
    """What `tokenizer_config.json` says; nothing without the file."""
    return _json_object(folder / "tokenizer_config.json") if folder else {}


def _json_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"cannot read {file}: {error}", hint="Fetch the tokenizer's files again."
        ) from error
    return value if isinstance(value, dict) else {}


def _special_tokens(folder: Path | None, config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """bos_token, eos_token and so on, which configs write as texts or as objects."""
    if folder is None:
        # Not known is not the same as absent: templates that join them to text would refuse all.
        return tuple((name, "") for name in _SPECIAL_TOKENS)
    older = _json_object(folder / "special_tokens_map.json")
    found = []
    for name in _SPECIAL_TOKENS:
        token = config.get(name, older.get(name))
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            found.append((name, text))
    return tuple(found)


def _own_templates(folder: Path | None, config: dict[str, Any]) -> dict[str, str]:
    """The templates in a tokenizer's folder, by name. Files go before the config."""
    if folder is None:
        return {}
    files = {}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = _read(folder / "chat_template.jinja")
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        files[file.stem] = _read(file)
    if files:
        return files
    own = config.get("chat_template")
    if isinstance(own, str):
        return {"default": own}
    if isinstance(own, list):
        return {
            one["name"]: one["template"]
            for one in own
            if isinstance(one, dict)
            and isinstance(one.get("name"), str)
            and isinstance(one.get("template"), str)
        }
    return {}
