"""What rows are checked against, by spec, catalog and the files beside the spec."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.catalog import Model, load_catalog
from orchestrator.data_rules import resolve_rules
from orchestrator.dataset.rules import Rules
from orchestrator.errors import InputError, NotFound
from orchestrator.spec import LoadedSpec
from orchestrator.token_rules import FoundTokenizer
from tests.fetching_bench import spec_with

TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}


@dataclass
class Shelf:
    """Tokenizers that are found, or not."""

    answer: FoundTokenizer | NotFound

    def find(self, repo: str, revision: str) -> FoundTokenizer:
        self.asked = (repo, revision)
        if isinstance(self.answer, NotFound):
            raise self.answer
        return self.answer


def model_of(loaded: LoadedSpec) -> Model:
    model = load_catalog().find(loaded.spec.base_model)
    assert model is not None
    return model


def rules(
    folder: Path, data: str = "  answer: text", more: str = "", shelf: Shelf | None = None
) -> Rules:
    loaded = spec_with(folder, data, more)
    return resolve_rules(loaded, model_of(loaded), tokenizers=shelf)


def refused(folder: Path, data: str = "  answer: text", more: str = "") -> InputError:
    with pytest.raises(InputError) as caught:
        rules(folder, data, more)
    return caught.value


def tokenizer(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_the_limit_is_that_of_the_service_and_says_so(tmp_path: Path) -> None:
    found = rules(tmp_path)
    assert found.max_length == 8192
    assert found.max_length_source == "the limit of vertex for meta/llama3_1@llama-3.1-8b-instruct"
    assert (found.service, found.too_long, found.spec_folder) == ("vertex", "error", tmp_path)


def test_the_limit_of_the_spec_goes_first(tmp_path: Path) -> None:
    loaded = spec_with(tmp_path, "  answer: text")
    text = loaded.file.read_text()
    assert "tuning:\n" in text
    loaded.file.write_text(text.replace("tuning:\n", "tuning:\n  max_length: 512\n"))
    from orchestrator.spec import load_spec

    found = resolve_rules(load_spec(loaded.file), model_of(loaded))
    assert (found.max_length, found.max_length_source) == (512, "tuning.max_length")


def test_tools_are_read_from_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    found = rules(tmp_path, "  tools: tools.json")
    assert [tool.name for tool in found.tools] == ["look"]
    assert rules(tmp_path).tools == ()


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        ("  tools: absent.json", "", "there is no file"),
        ("  tools: .", "", "is a folder"),
        ("  format: no-such-format", "", "no-such-format"),
        ("  answer: no-such-schema", "", "no-such-schema"),
        ("  answer: ./absent.schema.json", "", "there is no file"),
        ("  answer: text", "chat_template: absent.jinja", "there is no file"),
        ("  answer: text", "tokenizer: ./absent", "there is no folder"),
        ("  answer: text", "tokenizer: absent", "there is no folder"),
    ],
)
def test_what_is_not_there_is_named_with_its_line(
    tmp_path: Path, data: str, more: str, said: str
) -> None:
    error = refused(tmp_path, data, more)
    field = (more or data).split(":")[0].strip()
    lines = (tmp_path / "spec.yaml").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.strip().startswith(f"{field}:"))
    assert said in str(error)
    assert f"spec.yaml:{line}:" in str(error)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    error = str(refused(tmp_path, "  tools: absent.json\n  answer: nothing", "tokenizer: ./gone"))
    assert all(word in error for word in ("absent.json", "nothing", "gone"))


def test_tools_that_are_no_tools_are_named_in_their_own_file(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text('[{"type": "function"}]')
    assert "tools.json" in str(refused(tmp_path, "  tools: tools.json"))


def test_a_tokenizer_of_the_spec_lies_in_a_folder(tmp_path: Path) -> None:
    tokenizer(tmp_path / "own", chat_template="{{ messages }}")
    found = rules(tmp_path, more="tokenizer: ./own").tokens
    assert found.tokenizer == tmp_path / "own"
    assert (found.template, found.template_source) == (None, "that of ./own")
    assert found.tokenizer_missing == ""
    (tmp_path / "own" / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in str(refused(tmp_path, more="tokenizer: ./own"))


def test_a_tokenizer_of_the_spec_may_be_on_the_hub_at_a_revision(tmp_path: Path) -> None:
    shelf = Shelf(FoundTokenizer(tokenizer(tmp_path / "own"), "from there"))
    found = rules(tmp_path, more="tokenizer: owner/name@v1", shelf=shelf).tokens
    assert shelf.asked == ("owner/name", "v1")
    assert found.tokenizer_source == "from there"


def test_a_model_of_the_spec_that_is_not_on_the_hub_is_a_mistake(tmp_path: Path) -> None:
    loaded = spec_with(tmp_path, "  answer: text", "tokenizer: owner/nam")
    with pytest.raises(InputError, match="owner/nam"):
        resolve_rules(loaded, model_of(loaded), tokenizers=Shelf(NotFound("no owner/nam")))


def test_the_models_own_tokenizer_is_asked_for_by_the_catalogs_name(tmp_path: Path) -> None:
    shelf = Shelf(FoundTokenizer(None, missing="gated; get it once: ..."))
    found = rules(tmp_path, shelf=shelf).tokens
    assert shelf.asked == ("meta-llama/Llama-3.1-8B-Instruct", "main")
    assert found.tokenizer is None
    assert found.tokenizer_missing == "gated; get it once: ..."
    absent = rules(tmp_path, shelf=Shelf(NotFound("hidden"))).tokens
    assert (absent.tokenizer, absent.tokenizer_missing) == (None, "hidden")


def test_the_template_of_the_spec_goes_before_the_tokenizers_own(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    own = tokenizer(tmp_path / "own", chat_template="{{ messages }}")
    shelf = Shelf(FoundTokenizer(own, "there"))
    found = rules(tmp_path, more="chat_template: mine.jinja", shelf=shelf).tokens
    assert (found.template, found.template_source) == (
        tmp_path / "mine.jinja",
        "the spec's mine.jinja",
    )
    found = rules(tmp_path, shelf=shelf).tokens
    assert (found.template, found.template_source) == (None, "the model's own")


def test_without_a_template_of_its_own_that_of_the_catalog_stands_in(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="the sandbox extra is not installed")
    found = rules(tmp_path, shelf=Shelf(FoundTokenizer(tokenizer(tmp_path / "own")))).tokens
    assert found.template is not None
    assert found.template.name == "llama3_1.jinja"
    assert found.template_source.startswith("as TRL")


def test_a_template_in_a_file_beside_the_tokenizer_is_its_own(tmp_path: Path) -> None:
    own = tokenizer(tmp_path / "own")
    (own / "chat_template.jinja").write_text("{{ messages }}")
    found = rules(tmp_path, more="tokenizer: ./own").tokens
    assert (found.template, found.template_source) == (None, "that of ./own")


def test_the_measured_error_of_the_catalog_goes_along(tmp_path: Path) -> None:
    loaded = spec_with(tmp_path, "  answer: text")
    gemma = load_catalog().models["google/gemma3@gemma-3-27b-it"]
    assert gemma.estimate_error is not None
    found = resolve_rules(loaded, gemma).tokens
    assert found.estimate_error == (gemma.estimate_error.fewer, gemma.estimate_error.more)
    assert found.tokens_per_character == gemma.tokens_per_character
    unmeasured = gemma.model_copy(update={"estimate_error": None})
    assert resolve_rules(loaded, unmeasured).tokens.estimate_error is None
