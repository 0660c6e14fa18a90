"""Which chat template a model's rows are rendered with, and whose it is."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.example import Message, Tool
from orchestrator.dataset.rules import TokenRules
from orchestrator.dataset.tokens.templates import find_template, template_file, template_source
from orchestrator.errors import InputError

USER = (Message("user", "Hi"),)


def tokens(
    tokenizer: Path | None = None, template: Path | None = None, source: str = "the spec's"
) -> TokenRules:
    return TokenRules("owner/model", tokenizer, template, source, 0.25, "a guess")


def folder(path: Path, **config: Any) -> Path:
    (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def rendered(rules: TokenRules, *tools: Tool) -> str:
    template = find_template(rules)
    assert template is not None
    return template.render(USER, tools, add_generation_prompt=False)


def test_a_named_template_goes_before_the_tokenizers_own(tmp_path: Path) -> None:
    named = tmp_path / "mine.jinja"
    named.write_text("{{ bos_token }}mine", encoding="utf-8")
    own = folder(tmp_path, chat_template="its own", bos_token="<s>")
    template = find_template(tokens(own, named))
    assert template is not None
    assert (template.text, template.source) == ("{{ bos_token }}mine", "the spec's")
    assert rendered(tokens(own, named)) == "<s>mine"


def test_the_tokenizers_own_template_is_the_models_own(tmp_path: Path) -> None:
    template = find_template(tokens(folder(tmp_path, chat_template="own")))
    assert template is not None
    assert (template.text, template.source) == ("own", "the model's own")


def test_a_file_beside_the_config_goes_before_the_config(tmp_path: Path) -> None:
    folder(tmp_path, chat_template="of the config")
    (tmp_path / "chat_template.jinja").write_text("of the file", encoding="utf-8")
    assert rendered(tokens(tmp_path)) == "of the file"


def test_chats_with_tools_take_the_template_for_them(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    rules = tokens(folder(tmp_path, chat_template=named))
    assert rendered(rules) == "plain"
    assert rendered(rules, Tool("f", {}, {"function": {"name": "f"}})) == "tools"


def test_templates_in_a_folder_of_their_own_are_found(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("plain", encoding="utf-8")
    (tmp_path / "additional_chat_templates").mkdir()
    other = tmp_path / "additional_chat_templates" / "tool_use.jinja"
    other.write_text("tools", encoding="utf-8")
    assert rendered(tokens(tmp_path), Tool("f", {}, {"function": {"name": "f"}})) == "tools"


@pytest.mark.parametrize("written", ["<s>", {"content": "<s>", "lstrip": False}])
def test_special_tokens_are_texts_or_objects(tmp_path: Path, written: Any) -> None:
    rules = tokens(folder(tmp_path, chat_template="{{ bos_token }}|", bos_token=written))
    assert rendered(rules) == "<s>|"


def test_special_tokens_stand_in_an_older_file_too(tmp_path: Path) -> None:
    folder(tmp_path, chat_template="{{ eos_token }}|")
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "</s>"}', encoding="utf-8")
    assert rendered(tokens(tmp_path)) == "</s>|"


def test_a_template_that_joins_tokens_renders_without_the_tokenizer(tmp_path: Path) -> None:
    named = tmp_path / "mine.jinja"
    named.write_text("{{ bos_token + messages[0].content }}", encoding="utf-8")
    assert rendered(tokens(None, named)) == "Hi"


@pytest.mark.parametrize("config", [{}, {"chat_template": None}, {"chat_template": [1]}])
def test_a_tokenizer_may_have_no_template(tmp_path: Path, config: dict[str, Any]) -> None:
    assert find_template(tokens(folder(tmp_path, **config))) is None
    assert find_template(tokens()) is None
    assert find_template(tokens(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jinja", None, "cannot read the chat template"),
        ("bytes.jinja", b"\xff\xfe", "not UTF-8"),
        ("broken.jinja", b"one\n{% if %}", "no Jinja"),
    ],
)
def test_a_broken_template_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        find_template(tokens(None, file))
    assert name in str(caught.value)
    assert caught.value.hint
    if name == "broken.jinja":
        assert caught.value.where is not None
        assert caught.value.where.line == 2


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_a_broken_tokenizer_config_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer_config\.json"):
        find_template(tokens(tmp_path))


def test_the_catalogs_names_lead_to_files() -> None:
    fixture = template_file("fixture:functiongemma")
    assert fixture is not None
    assert "fixture" in fixture.read_text(encoding="utf-8")
    assert template_source("fixture:functiongemma") == "this project's fixture"
    for name in ("fixture:nothing", "trl:nothing", "other:qwen3", "fixture:../example", "trl:"):
        assert template_file(name) is None


def test_templates_of_trl_are_found_without_importing_it() -> None:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("needs the extra `sandbox`")
    code = (
        "import sys; from orchestrator.dataset.tokens.templates import *;"
        "file = template_file('trl:qwen3'); print(file.name, template_source('trl:qwen3'));"
        "print({'trl', 'torch', 'transformers', 'jinja2', 'orjson'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("qwen3.jinja as TRL 1.")
    assert first.endswith(" ships it")
    assert second == "set()"


def test_without_trl_its_templates_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", {"json": None}.get)
    assert template_file("trl:qwen3") is None
