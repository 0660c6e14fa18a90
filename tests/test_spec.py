"""A spec is read strictly, and every problem is reported at once, with its place and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.data_files import data_folder
from orchestrator.errors import InputError
from orchestrator.planner import resolve_model
from orchestrator.spec import JobSpec, LoadedSpec, SpecError, load_spec

BASE = "version: 1\nname: router\nbase_model: meta/llama3_1@llama-3.1-8b-instruct\n"


def load(folder: Path, text: str) -> LoadedSpec:
    file = folder / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    return load_spec(file, "spec.yaml")


def problems(folder: Path, text: str) -> list[tuple[int | None, str, str]]:
    """Line, message and hint of every problem of a spec (service and model included)."""
    with pytest.raises(SpecError) as caught:
        resolve_model(load(folder, text))
    return [(p.where.line if p.where else None, p.message, p.hint) for p in caught.value.problems]


def only_problem(folder: Path, lines: str) -> tuple[int | None, str, str]:
    """The one problem of a sound spec with these lines added, which start on line 4."""
    found = problems(folder, BASE + lines)
    assert len(found) == 1
    return found[0]


def test_the_shipped_spec_says_what_the_project_promises() -> None:
    spec = load_spec(data_folder("jobs") / "router" / "llama-3.1-8b.yaml").spec
    assert spec.base_model == "meta/llama3_1@llama-3.1-8b-instruct"
    assert (spec.tuning.mode, spec.tuning.rank, spec.tuning.epochs) == ("peft", 16, 3)
    assert spec.tuning.learning_rate_multiplier == 0.7
    split = spec.data.split
    assert (split.train, split.validation, split.test) == (0.85, 0.10, 0.05)
    assert (spec.version, spec.seed, spec.data.answer) == (1, 42, "route-plan")


def test_three_lines_make_a_spec_and_the_rest_has_defaults(tmp_path: Path) -> None:
    spec = load(tmp_path, BASE).spec
    assert spec == JobSpec(
        version=1, name="router", base_model="meta/llama3_1@llama-3.1-8b-instruct"
    )
    assert spec.on_uncertain == "hold"
    assert spec.max_attempts == 1
    assert spec.publish is None


def test_several_problems_are_reported_at_once_in_the_order_of_their_lines(
    tmp_path: Path,
) -> None:
    text = (
        "version: 2\nname: A b\nbase_modl: x\nseeds: 1\n"
        "tuning:\n  rank: x\n  epochs: 0\npublish: [a]\n"
    )
    found = problems(tmp_path, text)
    assert [line for line, _, _ in found] == [1, 1, 2, 3, 4, 6, 7, 8]
    messages = "\n".join(message for _, message, _ in found)
    for part in ["`version`", "`base_model` is missing", "`name`", "unknown key `base_modl`"]:
        assert part in messages
    for part in ["unknown key `seeds`", "`tuning.rank`", "`tuning.epochs`", "`publish`"]:
        assert part in messages


def test_the_text_of_the_error_holds_every_place_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, "version: 2\nname: a\nbase_modl: x\n")
    text = str(caught.value)
    assert "spec.yaml:1:10: `version`: must be 1 (it is 2)\n  This program reads version 1." in text
    assert "spec.yaml:3:1: unknown key `base_modl`\n  Did you mean `base_model`?" in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("lines", "line", "key", "near"),
    [
        ("seeed: 3\n", 4, "seeed", "seed"),
        ("Seed: 3\n", 4, "Seed", "seed"),
        ("tuning:\n  learning-rate: 1\n", 5, "tuning.learning-rate", "learning_rate"),
        ("data:\n  split:\n    trian: 1\n", 6, "data.split.trian", "train"),
        ("publish: {repo: a, privat: true}\n", 4, "publish.privat", "private"),
        ("service: {nam: vertex}\n", 4, "service.nam", "name"),
        ("stand_in: {max_lenght: 64}\n", 4, "stand_in.max_lenght", "max_length"),
        ("tuning: {lora_rank: 64}\n", 4, "tuning.lora_rank", "rank"),
        ("datasets: [a]\n", 4, "datasets", "data"),
        ("publish: {repo: b, hub_repo: a}\n", 4, "publish.hub_repo", "repo"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    tmp_path: Path, lines: str, line: int, key: str, near: str
) -> None:
    assert only_problem(tmp_path, lines) == (
        line,
        f"unknown key `{key}`",
        f"Did you mean `{near}`?",
    )


def test_an_unknown_key_without_a_near_one_lists_the_known_ones(tmp_path: Path) -> None:
    _, message, hint = only_problem(tmp_path, "tuning: {zzzz: 1}\n")
    assert message == "unknown key `tuning.zzzz`"
    assert hint.startswith("Known keys here: mode, quantization, rank,")


def test_a_key_of_another_tool_is_not_taken_for_one_that_it_hardly_looks_like(
    tmp_path: Path,
) -> None:
    for key in ("load_in_8bit", "adapter", "weight_decay"):
        _, message, hint = only_problem(tmp_path, f"{key}: 1\n")
        assert message == f"unknown key `{key}`"
        assert hint.startswith("Known keys here: version, name,")


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spec\.yaml:4:1: `name` is given twice"):
        load(tmp_path, BASE + "name: other\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "nothing"), ("# later\n", "nothing"), ("- a\n- b\n", "a list"), ("42", "a single value")],
)
def test_a_file_that_is_no_mapping_says_what_it_is(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert caught.value.message.endswith(f"this file holds {found}")
    assert caught.value.where is not None
    assert caught.value.where.file == "spec.yaml"
    assert caught.value.hint


@pytest.mark.parametrize("block", ["service", "data", "tuning", "publish", "stand_in"])
def test_a_list_where_a_block_belongs_is_named_in_the_words_of_yaml(
    tmp_path: Path, block: str
) -> None:
    line, message, hint = only_problem(tmp_path, f"\n{block}: [1, 2]\n")
    assert line == 5
    assert message == f"`{block}`: must be a block of `key: value` lines"
    assert "Indent" in hint


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("seed: -1", "`seed`: must be greater than or equal to 0 (it is -1)"),
        ("seed: 4294967296", "`seed`: must be less than 4294967296 (it is 4294967296)"),
        ("seed: '3'", "`seed`: must be a whole number (it is '3')"),
        ("seed: 1.0", "`seed`: must be a whole number (it is 1.0)"),
        ("tuning: {epochs: yes}", "`tuning.epochs`: must be a whole number (it is True)"),
        ("tuning: {rank: 0}", "`tuning.rank`: must be greater than or equal to 1 (it is 0)"),
        ("tuning: {mode: lora}", "`tuning.mode`: must be 'peft' or 'full' (it is 'lora')"),
        ("tuning: {learning_rate: x}", "`tuning.learning_rate`: must be a number (it is 'x')"),
        ("tuning: {learning_rate: 0}", "`tuning.learning_rate`: must be greater than 0 (it is 0)"),
        ("tuning: {learning_rate: .nan}", "`tuning.learning_rate`: must be a finite number"),
        ("tuning: {learning_rate: 1e400}", "`tuning.learning_rate`: must be a finite number"),
        (
            "tuning: {learning_rate: 2}",
            "`tuning.learning_rate`: must be less than or equal to 0.1 (it is 2)",
        ),
        (
            "tuning: {learning_rate_multiplier: 101}",
            "`tuning.learning_rate_multiplier`: must be less than or equal to 100 (it is 101)",
        ),
        ("tuning: {learning_rate: true}", "`tuning.learning_rate`: must be a number (it is True)"),
        ("max_attempts: true", "`max_attempts`: must be a whole number (it is True)"),
        ("seed: 08", "`seed`: must be a whole number (it is '08')"),
        ("stand_in: {learning_rate: 5}", "`stand_in.learning_rate`: must be less than or equal"),
        (
            "tuning: {learning_rate: 1e-4, learning_rate_multiplier: 2}",
            "`tuning`: give learning_rate or learning_rate_multiplier, not both",
        ),
        ("tuning: {mode: full, rank: 8}", "`tuning`: mode full has no rank"),
        ("data: {split: {train: 0.5}}", "`data.split`: train, validation and test add up to 0.65"),
        ("data: {split: {train: 0, validation: 1, test: 0}}", "`data.split.train`: must be great"),
        ("data: {format: 7}", "`data.format`: must be text (it is 7)"),
        ("data: {path: 3}", "`data.path`: must be text (it is 3)"),
        ("publish: {private: true}", "`publish.repo` is missing"),
        ("publish: {repo: a, private: 1}", "`publish.private`: must be true or false (it is 1)"),
        ("publish: {repo: a, tags: router}", "`publish.tags`: must be a list (it is 'router')"),
        ("publish: {repo: a, tags: [1]}", "`publish.tags.0`: must be text (it is 1)"),
        ("on_uncertain: no", "`on_uncertain`: must be 'hold' or 'relaunch' (it is False)"),
        ("max_attempts: 11", "`max_attempts`: must be less than or equal to 10 (it is 11)"),
        (
            "service: {name: sagemaker}",
            "`service.name`: must be 'vertex' or 'hf-jobs' (it is 'sagemaker')",
        ),
        ("service: vertex", "`service`: must be a block of `key: value` lines (it is 'vertex')"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    tmp_path: Path, lines: str, message: str
) -> None:
    line, found, _ = only_problem(tmp_path, lines + "\n")
    assert line == 4
    assert found.startswith(message)


@pytest.mark.parametrize("version", ["true", "1.0", "2", "'1'", "null", "[1]"])
def test_only_the_number_1_is_the_version(tmp_path: Path, version: str) -> None:
    ((line, message, hint),) = problems(tmp_path, BASE.replace("version: 1", f"version: {version}"))
    assert line == 1
    assert message.startswith("`version`: must be 1")
    assert hint == "This program reads version 1."


def test_a_learning_rate_out_of_range_says_what_is_usual(tmp_path: Path) -> None:
    _, _, hint = only_problem(tmp_path, "tuning: {learning_rate: 2}\n")
    assert "1e-5 to 1e-3" in hint


def test_a_seed_that_yaml_would_read_in_base_8_is_refused_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, f"{BASE}seed: 012\n")
    assert str(caught.value).startswith("spec.yaml:4:7: `012` starts with a zero")
    assert "decimal" in caught.value.hint


@pytest.mark.parametrize("name", ["A", "-a", "a b", "a/b", "é", "a\\n", "", "a" * 64])
def test_a_name_that_the_services_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    text = BASE.replace("name: router", f'name: "{name}"')
    ((line, message, hint),) = problems(tmp_path, text)
    assert line == 2
    assert message.startswith("`name`: has not the right form")
    assert "Lowercase letters" in hint


@pytest.mark.parametrize(
    "repo",
    [
        *["a/b/c", "/a", "a/", ".a", "-a", "a-", "a.", "a b", "a\\n", "naïve", "ns/a.git", "a--b"],
        *["a..b", "n--s/a", "a" * 97, "é/a", ""],
    ],
)
def test_a_repo_that_the_hub_would_refuse_after_training_is_refused_now(
    tmp_path: Path, repo: str
) -> None:
    line, message, hint = only_problem(tmp_path, f'publish:\n  repo: "{repo}"\n')
    assert line == 5
    assert message.startswith("`publish.repo`: ")
    assert "namespace/name" in hint


@pytest.mark.parametrize("repo", ["a", "a/b", "Org_1/model-1.2_b", "a" * 96, "0/0_"])
def test_a_repo_that_the_hub_takes_is_taken(tmp_path: Path, repo: str) -> None:
    from huggingface_hub.utils._validators import validate_repo_id

    validate_repo_id(repo)
    publish = load(tmp_path, BASE + f'publish:\n  repo: "{repo}"\n').spec.publish
    assert publish is not None
    assert publish.repo == repo


def test_a_learning_rate_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    spec = load(tmp_path, BASE + "tuning: {learning_rate: 1e-4}\n").spec
    assert spec.tuning.learning_rate == 0.0001


def test_service_and_model_are_both_checked_when_both_are_wrong(tmp_path: Path) -> None:
    text = BASE.replace("8b-instruct", "8b-instuct") + "service: {location: us-central}\n"
    (model, location) = problems(tmp_path, text)
    assert model[0] == 3
    assert model[1] == "unknown base model `meta/llama3_1@llama-3.1-8b-instuct`"
    assert model[2] == "Did you mean `meta/llama3_1@llama-3.1-8b-instruct`?"
    assert location[0] == 4
    assert "us-central1" in location[2]


def test_a_model_like_none_that_is_known_lists_the_known_ones(tmp_path: Path) -> None:
    ((_, _, hint),) = problems(tmp_path, "version: 1\nname: a\nbase_model: zzz\n")
    assert hint.startswith("Known: ")
    assert "qwen/qwen3@qwen3-32b" in hint


def test_a_spec_cannot_be_changed_after_it_is_read(tmp_path: Path) -> None:
    spec = load(tmp_path, BASE).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.tuning.epochs = 5  # type: ignore[misc]  # the very thing that must fail
