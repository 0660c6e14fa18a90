"""The specs that come with the program are found by name anywhere, and copied to be changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.catalog import load_catalog
from orchestrator.cli import run
from orchestrator.shipped import MODELINE, find_spec, first_comment, shipped_names
from orchestrator.spec import load_spec
from tests.router_spec import ROUTER, SAMPLE

NAMES = ["router/gemma-3-27b", "router/llama-3.1-8b", "router/qwen3-32b"]
OTHERS = [
    "code/llama-3.1-8b",
    "functiongemma/cycling-copilot",
    "functiongemma/mobile-actions",
    "functiongemma/support-router",
    "math/benchmarks",
    "math/gemma-3-27b",
    "math/llama-4-scout",
    "math/qwen3-32b",
]
LLAMA = "router/llama-3.1-8b"

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Shell:
    """Runs commands in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def written() -> set[str]:
    """All files below the present folder."""
    return {str(file) for file in Path().rglob("*") if file.is_file()}


# --------------------------------------------------------------------------------- found by name


def test_the_shipped_specs_are_there() -> None:
    assert list(shipped_names()) == [*OTHERS, *NAMES]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", ".yaml", ".yml"])
def test_a_name_is_found_from_an_empty_folder(shell: Shell, name: str, suffix: str) -> None:
    code, out, err = shell("check", name + suffix)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("(shipped) router/sample.jsonl: 40 rows, no errors")


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_spec_has_a_plan_that_the_service_takes(shell: Shell, name: str) -> None:
    code, out, _ = shell("plan", name, "--json")
    plan = json.loads(out)
    assert (code, plan["refusals"], plan["warnings"]) == (0, [], [])
    hyper = plan["hyperparameters"]
    assert (hyper["epochs"], hyper["rank"], hyper["learning_rate"]) == (3, 16, 0.00014)
    assert 0 < plan["estimate"]["cost_usd"] < 1


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_spec_is_rehearsed_to_its_end(shell: Shell, name: str) -> None:
    code, out, err = shell("rehearse", name, "--stand-in", "replay", "--json")
    assert code == 0, err
    result = json.loads(out)
    short = name.rpartition("/")[2]
    assert (result["state"], len(result["service_jobs"])) == ("PUBLISHED", 2)
    assert result["hub_repo"] == f"sandbox-user/router-{short}-adapter"
    config = json.loads(Path(result["adapter_path"], "adapter_config.json").read_text())
    model = load_catalog().find(load_spec(shipped_names()[name]).spec.base_model)
    assert model is not None
    assert config["base_model_name_or_path"] == model.hub_id


def test_shipped_specs_name_themselves_and_their_repos_alike() -> None:
    for name, file in shipped_names().items():
        spec = load_spec(file).spec
        assert spec.name == name.replace("/", "-")
        adapter = "-adapter" if spec.tuning.mode == "peft" else ""
        assert spec.publish is None or spec.publish.repo == f"{spec.name}{adapter}"
        assert spec.data.path is not None
        assert "/" not in spec.data.path, "a copy holds the rows beside the spec"


def test_the_plan_is_the_same_by_name_and_by_path(shell: Shell) -> None:
    by_name = json.loads(shell("plan", LLAMA, "--json")[1])
    by_path = json.loads(shell("plan", ROUTER, "--json")[1])
    assert by_name == by_path


def test_other_rows_are_called_by_their_own_path(shell: Shell) -> None:
    Path("rows.jsonl").write_bytes(SAMPLE.read_bytes() + b"[]\n")
    code, out, _ = shell("check", LLAMA, "--data", "rows.jsonl")
    assert code == 1
    assert "error: rows.jsonl:41: " in out
    assert "(shipped)" not in out


def test_messages_about_a_shipped_spec_show_a_place_that_people_can_read(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = tmp_path / "installed" / "jobs"
    (jobs / "router").mkdir(parents=True)
    (jobs / "router" / "odd.yaml").write_text("version: 1\nname: odd\nbase_modl: x\n")
    monkeypatch.setattr("orchestrator.shipped.data_folder", lambda _: jobs)
    code, _, err = shell("check", "router/odd")
    assert code == 2
    assert "error: (shipped) router/odd.yaml:3:1: unknown key `base_modl`" in err
    assert str(tmp_path) not in err


# ------------------------------------------------------------------------------------ a file wins


@pytest.mark.parametrize("at", [LLAMA, f"{LLAMA}.yaml"])
def test_a_file_of_that_path_wins_with_and_without_its_suffix(shell: Shell, at: str) -> None:
    """An edited copy must never lose to the shipped spec: the wrong job would be paid for."""
    mine = Path(at)
    mine.parent.mkdir()
    mine.write_text(ROUTER.read_text(encoding="utf-8").replace("epochs: 3", "epochs: 2"))
    (mine.parent / "sample.jsonl").write_bytes(SAMPLE.read_bytes())
    code, out, _ = shell("plan", LLAMA, "--json")
    assert code == 0
    assert json.loads(out)["hyperparameters"]["epochs"] == 2
    assert find_spec(Path(LLAMA)).shipped is None


def test_a_folder_of_that_name_does_not_hide_the_shipped_spec(shell: Shell) -> None:
    Path(LLAMA).mkdir(parents=True)
    assert shell("check", LLAMA)[0] == 0
    code, _, err = shell("check", "router")
    assert code == 2
    assert "router is a folder, not a file" in err


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="there are no such files here")
def test_a_spec_may_come_through_a_pipe(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.write(writing, ROUTER.read_bytes())
    os.close(writing)
    try:
        code, out, err = shell("plan", f"/dev/fd/{reading}", "--data", SAMPLE, "--json")
    finally:
        os.close(reading)
    assert code == 0, err
    assert json.loads(out)["name"] == "router-llama-3.1-8b"


# -------------------------------------------------------------------------------- unknown names


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("router/llama-3.1", LLAMA),
        ("roter/lama-3.1-8b.yaml", LLAMA),
        ("llama-3.1-8b", LLAMA),
        ("jobs/router/llama-3.1-8b.yaml", LLAMA),
        ("router/Qwen3-32B", "router/qwen3-32b"),
        ("gemma-3-27b-it", "router/gemma-3-27b"),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan", "submit", "rehearse"])
def test_an_unknown_name_says_the_nearest_and_where_all_are_listed(
    shell: Shell, command: str, written: str, meant: str
) -> None:
    code, out, err = shell(command, written)
    assert (code, out) == (2, "")
    assert err == (
        f"error: there is no file {written}\n"
        f"  Did you mean {meant}? All that are shipped: orchestrator specs\n"
    )


def test_a_path_like_none_says_so(shell: Shell) -> None:
    code, _, err = shell("plan", "zzz/nothing.yaml")
    assert code == 2
    assert "there is no file zzz/nothing.yaml\n  Check the path. All that are shipped" in err


def test_a_name_that_no_file_can_have_is_no_bug(shell: Shell) -> None:
    code, _, err = shell("check", "n" * 5000)
    assert code == 2
    assert "Traceback" not in err


# ------------------------------------------------------------------------------------- the list


def test_the_list_says_what_each_one_is(shell: Shell) -> None:
    code, out, err = shell("specs")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [*OTHERS, *NAMES]
    assert "  Router agent on Qwen3 32B: a user query becomes a route plan.\n" in out
    assert "  google/gemma3@gemma-3-27b-it, vertex\n" in out


def test_the_list_for_programs_is_one_document(shell: Shell) -> None:
    listed = json.loads(shell("specs", "--json")[1])
    assert [entry["name"] for entry in listed] == [*OTHERS, *NAMES]
    for entry in listed:
        assert set(entry) == {"name", "base_model", "service", "description", "file"}
        assert Path(entry["file"]).is_file()
        assert entry["description"].endswith(".")
        assert entry["base_model"] in load_catalog().models


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        (f"{MODELINE}x\n# What it is.\n# More.\nversion: 1\n", "What it is."),
        ("#What it is.  \nversion: 1\n", "What it is."),
        ("version: 1\n# Not this one.\n", ""),
        (f"{MODELINE}x\nversion: 1\n", ""),
        ("", ""),
    ],
)
def test_the_description_is_the_first_line_of_comment(text: str, comment: str) -> None:
    assert first_comment(text) == comment


# ------------------------------------------------------------------------------------- the copy


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_works_where_it_is(shell: Shell, name: str) -> None:
    short = name.rpartition("/")[2]
    code, out, err = shell("specs", "copy", name)
    assert (code, out) == (0, f"{short}.yaml\n")
    assert f"orchestrator check {short}.yaml" in err
    assert written() == {f"{short}.yaml", "sample.jsonl", ".orchestrator/job.schema.json"}
    code, out, err = shell("check", f"{short}.yaml", "--only", "form")
    assert (code, err) == (0, "")
    assert out.endswith("\nsample.jsonl: 40 rows, no errors\n")
    mine, theirs = (json.loads(shell("plan", s, "--json")[1]) for s in (f"{short}.yaml", name))
    assert mine == theirs


@pytest.mark.parametrize("name", ["functiongemma/support-router", "functiongemma/cycling-copilot"])
def test_a_copy_brings_the_tools_that_its_rows_call(shell: Shell, name: str) -> None:
    short = name.rpartition("/")[2]
    assert shell("specs", "copy", name, "mine")[0] == 0
    assert f"mine/{short}.tools.json" in written()
    assert shell("check", f"mine/{short}.yaml", "--only", "form,service")[0] == 0


def test_the_copy_leads_editors_to_the_schema_beside_it(shell: Shell) -> None:
    shell("specs", "copy", LLAMA, "deep/er")
    copy = Path("deep/er/llama-3.1-8b.yaml")
    lines = copy.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith(MODELINE) for line in lines) == 1
    schema = copy.parent / lines[0].removeprefix(MODELINE)
    assert "tuning" in json.loads(schema.read_text(encoding="utf-8"))["properties"]
    assert lines[1:] == ROUTER.read_text(encoding="utf-8").splitlines()[1:]
    assert yaml.safe_load(copy.read_text()) == yaml.safe_load(ROUTER.read_text())


def test_several_copies_share_their_rows_in_one_folder(shell: Shell) -> None:
    for name in NAMES:
        assert shell("specs", "copy", name, "mine")[0] == 0
    assert len(written()) == len(NAMES) + 2
    assert shell("specs", "copy", NAMES[0], "mine")[0] == 0, "the same bytes are no conflict"


def test_a_copy_may_have_a_name_of_its_own(shell: Shell) -> None:
    code, out, _ = shell("specs", "copy", f"{LLAMA}.yaml", "sub/mine.yaml")
    assert (code, out) == (0, "sub/mine.yaml\n")
    assert shell("check", "sub/mine")[0] == 0


@pytest.mark.parametrize("changed", ["llama-3.1-8b.yaml", "sample.jsonl"])
def test_what_was_changed_is_replaced_only_by_force(shell: Shell, changed: str) -> None:
    Path(changed).write_text("precious")
    code, out, err = shell("specs", "copy", LLAMA)
    assert (code, out) == (2, "")
    assert f"{changed} exists already, with another content" in err
    assert "--force" in err
    assert written() == {changed}
    assert Path(changed).read_text() == "precious"
    assert shell("specs", "copy", LLAMA, "--force")[0] == 0
    assert Path(changed).read_text() != "precious"
    assert shell("check", "llama-3.1-8b.yaml")[0] == 0


def test_an_old_schema_is_renewed(shell: Shell) -> None:
    schema = Path(".orchestrator/job.schema.json")
    schema.parent.mkdir()
    schema.write_text("{}")
    assert shell("specs", "copy", LLAMA)[0] == 0
    assert "$defs" in json.loads(schema.read_text())


def test_a_copy_that_cannot_be_written_says_so(shell: Shell) -> None:
    Path("file").touch()
    for arguments in (("file",), ("file/inner",)):
        code, _, err = shell("specs", "copy", LLAMA, *arguments)
        assert code == 2
        assert "cannot write file" in err
    Path("sample.jsonl").mkdir()
    assert shell("specs", "copy", LLAMA, "--force")[0] == 2
    assert not [name for name in written() if name.endswith(".part")]


def test_an_unknown_spec_is_not_copied(shell: Shell) -> None:
    code, _, err = shell("specs", "copy", "router/llama")
    assert code == 2
    assert f"Did you mean {LLAMA}?" in err
    code, _, err = shell("specs", "copy", "zzz")
    assert "no spec of the name zzz is shipped\n  All that are shipped: orchestrator specs" in err
    assert written() == set()


def test_a_file_of_the_users_is_not_taken_for_a_shipped_one(shell: Shell) -> None:
    Path("mine.yaml").write_text("version: 1\n")
    assert shell("specs", "copy", "mine.yaml", "sub")[0] == 2


def test_hints_and_help_use_names(shell: Shell, tmp_path: Path) -> None:
    assert "orchestrator rehearse router/llama-3.1-8b\n" in shell("--help")[1]
    (tmp_path / "empty.yaml").touch()
    assert "specs copy router/llama-3.1-8b" in shell("check", "empty.yaml")[2]
