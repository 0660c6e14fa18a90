"""The TEMPLATE of a Modelfile against the chat template; the renderer against Go itself."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.tokens import templates
from orchestrator.dataset.tokens.jinja_rendering import compiled
from orchestrator.sandbox.standins import tiny_model
from orchestrator.training import ollama_template as ollama

CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}"
    "{% endif %}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' +"
    " message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] +"
    " '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% set first = '' %}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] =="
    " 'assistant' else message['role']) + '\n' + (first if loop.first else '') +"
    " message['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}{{ '[' + message['role'] + ']' +"
    " message['content'] }}{% endfor %}{{ '[assistant]' }}"
)
#: The system message goes before the last message of the user, wherever that stands.
WANDERING = (
    "{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] %}"
    "{% elif loop.last %}{{ '[U]' + ns.system + message['content'] }}"
    "{% else %}{{ '[' + message['role'] + ']' + message['content'] }}{% endif %}{% endfor %}"
)
#: The first message of the user is marked otherwise than the later ones are, whatever comes before.
COUNTING = (
    "{% for message in messages %}{{ '[' ~ loop.index ~ ']' ~ message['content'] }}{% endfor %}"
    "{{ '[answer]' }}"
)
FUNCTIONGEMMA = Path(templates.__file__).with_name("functiongemma.jinja").read_text("utf-8")
EXPRESSIBLE = {
    "chatml": CHATML,
    "llama": LLAMA,
    "gemma": GEMMA,
    "functiongemma": FUNCTIONGEMMA,
    "tiny": tiny_model.CHAT_TEMPLATE,
    "no-system": NO_SYSTEM,
}
BOS = "<s>"


def rendering(jinja: str) -> ollama.Render:
    """Renders as transformers does, with a generation prompt."""
    template = compiled(jinja)

    def render(messages: Sequence[ollama.Message]) -> str:
        return template.render(
            list(messages), None, add_generation_prompt=True, special_tokens={"bos_token": BOS}
        )

    return render


def trls() -> dict[str, str]:
    """The chat templates of real model families that TRL ships."""
    found = importlib.util.find_spec("trl")
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / "chat_templates"
    return {file.stem: file.read_text("utf-8") for file in sorted(folder.glob("*.jinja"))}


@pytest.mark.parametrize("name", EXPRESSIBLE)
@pytest.mark.parametrize("bos", ["", BOS])
def test_the_template_renders_byte_equal_to_the_chat_template(name: str, bos: str) -> None:
    render = rendering(EXPRESSIBLE[name])
    if bos and not render([{"role": "user", "content": "x"}]).startswith(bos):
        pytest.skip("this chat template writes no first token")
    glue = ollama.read_glue(render)
    template = ollama.write_template(glue, bos)
    assert ollama.compare(template, glue, render, bos) == (24 if glue.has_system else 12)
    messages = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]
    assert bos + ollama.execute(template, messages) == render(messages)


@pytest.mark.parametrize("family", ["gemma3", "llama3_1", "qwen2_5", "qwen3", "gemma", "phi3"])
def test_the_templates_of_real_families_can_be_written(family: str) -> None:
    found = trls()
    if family not in found:
        pytest.skip("needs TRL's chat templates (the sandbox extra)")
    render = rendering(found[family])
    glue = ollama.read_glue(render)
    template = ollama.write_template(glue, "")
    assert ollama.compare(template, glue, render, "") > 0


@pytest.mark.parametrize("jinja", [WANDERING, COUNTING], ids=["wandering", "counting"])
def test_what_depends_on_more_than_two_roles_is_refused(jinja: str) -> None:
    def check() -> None:
        glue = ollama.read_glue(rendering(jinja))
        ollama.compare(ollama.write_template(glue, ""), glue, rendering(jinja), "")

    with pytest.raises(ollama.NotExpressible):
        check()


def test_a_template_that_is_not_the_chat_template_is_refused() -> None:
    glue = ollama.read_glue(rendering(CHATML))
    template = ollama.write_template(glue, "").replace("user\\n", "user ")
    with pytest.raises(ollama.NotExpressible, match="the TEMPLATE"):
        ollama.compare(template, glue, rendering(CHATML), "")


def test_content_that_the_chat_template_alters_is_named_not_faked() -> None:
    def said(jinja: str, bos: str = "") -> str:
        glue = ollama.read_glue(rendering(jinja))
        template = ollama.write_template(glue, bos)
        return "; ".join(ollama.not_expressed(template, glue, rendering(jinja), bos))

    assert "tools: " in said(CHATML)
    assert "spaces at the end" not in said(CHATML)
    assert "spaces at the end" in said(LLAMA, BOS)
    assert "system messages" in said(NO_SYSTEM)
    assert "system messages" not in said(GEMMA, BOS)


def test_an_unfinished_answer_is_gone_on_with() -> None:
    glue = ollama.read_glue(rendering(CHATML))
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One,"}]
    assert ollama.execute(ollama.write_template(glue, ""), messages).endswith("assistant\nOne,")


def test_three_quotes_cannot_be_written_into_a_modelfile() -> None:
    jinja = "{% for message in messages %}|{{ message['content'] }}{% endfor %}"
    glue = ollama.read_glue(rendering(jinja + "A"))
    broken = ollama.Glue({**glue.between, (ollama.START, "user"): 'a"""'})
    written = ollama.write_template(broken, "")
    assert '"""' not in written
    assert ollama.execute(written, [{"role": "user", "content": "b"}]) == 'a"""bA'


@pytest.mark.parametrize(
    "template", ["{{ json .Messages }}", "{{ end }}", "{{ if .Messages }}x", "{{ len .Messages }}"]
)
def test_what_the_renderer_does_not_know_is_refused(template: str) -> None:
    with pytest.raises(ollama.NotExpressible):
        ollama.execute(template, [])


# --- Judged by Go ------------------------------------------------------------------------------

GO = """
package main

import ("encoding/json"; "os"; "strings"; "text/template")

type Message struct { Role, Content string }
type Case struct { Template string; Messages []*Message }

func main() {
    var cases []Case
    if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil { panic(err) }
    results := []string{}
    for _, one := range cases {
        made, err := template.New("").Option("missingkey=zero").Parse(one.Template)
        if err != nil { panic(err) }
        var out strings.Builder
        // As Ollama calls it: a map with the messages and the system text.
        values := map[string]any{"Messages": one.Messages, "System": "", "Response": ""}
        if err := made.Execute(&out, values); err != nil { panic(err) }
        results = append(results, out.String())
    }
    json.NewEncoder(os.Stdout).Encode(results)
}
"""


def go_renders(cases: list[dict[str, Any]], folder: Path) -> list[str]:
    """What Go's own text/template makes of each case."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs Go (apt install golang-go)")
    (folder / "render.go").write_text(GO)
    environment = {"HOME": str(folder), "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        [go, "run", "render.go"],
        cwd=folder,
        input=json.dumps(cases),
        env={**environment, "GO111MODULE": "off", "PATH": "/usr/bin:/bin", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.slow
def test_go_renders_byte_equal_to_the_chat_templates(tmp_path: Path) -> None:
    cases, expected, ours = [], [], []
    for jinja in {**EXPRESSIBLE, **trls()}.values():
        render = rendering(jinja)
        try:
            glue = ollama.read_glue(render)
            template = ollama.write_template(glue, "")
            ollama.compare(template, glue, render, "")
        except ollama.NotExpressible:
            continue
        for messages in ollama.conversations():
            if glue.has_system or messages[0]["role"] != "system":
                cases.append({"Template": template, "Messages": messages})
                expected.append(render(messages))
                ours.append(ollama.execute(template, messages))
    assert len(cases) > 100
    got = go_renders(cases, tmp_path)
    assert got == expected
    assert got == ours


#: Pieces of which templates are put together that Go and the renderer must read alike.
PIECES = st.sampled_from(
    [
        "text ",
        "\n  ",
        " }} ",
        '{{ "a\\n\\u003c\\"b\\\\" }}',
        '{{- "c " -}}',
        "{{ range .Messages }}{{ .Role }}:{{- .Content }} {{ end }}",
        '{{ $x := "v" }}{{ $x }}',
        '{{ $x := "" }}{{ range .Messages }}{{ $x }}{{ $x = .Role }}{{ end }}{{- $x -}}',
        '{{ range .Messages }}{{ if ne .Role "user" }}{{ else if eq "x" "x" }}N{{ end }}{{ end }}',
        '{{ if or (eq "a" "b") (eq "c" "c") }} yes {{- else }} no {{ end }}',
        '{{ if and (eq "a" "a") (ne "c" "c") }} yes {{ else -}} no {{ end }}',
    ]
)


@pytest.mark.slow
def test_the_renderer_reads_templates_as_go_does(tmp_path: Path) -> None:
    made: list[str] = []

    @given(st.lists(PIECES, max_size=8))
    def collect(pieces: list[str]) -> None:
        made.append("".join(pieces))

    collect()
    messages = [{"role": "user", "content": " ü\n"}, {"role": "assistant", "content": "{{ x }}"}]
    got = go_renders([{"Template": one, "Messages": messages} for one in made], tmp_path)
    assert [ollama.execute(one, messages) for one in made] == got
