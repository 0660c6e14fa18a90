"""One row against the chat template. Each `_…` function looks for one thing."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.calls import Syntax, detect, parse
from orchestrator.dataset.checks.calls_compared import difference, short
from orchestrator.dataset.example import Example, Message, Role, answer_calls
from orchestrator.dataset.report import Finding, Level
from orchestrator.dataset.rules import Rules
from orchestrator.dataset.tokens.markers import Marks, texts_of
from orchestrator.dataset.tokens.rendering import Rendered, as_sent, render_example
from orchestrator.dataset.tokens.templates import TemplateRefusal, find_template

#: Without these words FunctionGemma does not call functions (its formatting guide).
ACTIVATION = "You are a model that can do function calling with the following functions"

_THINKING = re.compile(r"<think>(.*?)</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in a row, and how many characters of it are trained on (None: not known)."""

    findings: tuple[Finding, ...]
    trained_characters: int | None


class TemplateRows:
    """Examines rows with one template, which is compiled once."""

    def __init__(self, rules: Rules) -> None:
        self.template = find_template(rules.tokens)
        self._rules = rules
        self._marks = Marks(self.template, rules.tokens.tokenizer)
        self._merged = functools.cache(self._is_merged)

    def examine(self, example: Example) -> Examined:
        """All that is wrong with one row."""
        found = list(self._markers(example))
        example = as_sent(example, self._rules.service)
        prompt, answer = example.prompt, example.answer
        if isinstance(prompt, str) or isinstance(answer, str):
            found += self._text(example)
            return Examined(tuple(found), len(answer) if isinstance(answer, str) else None)
        if self.template is None:
            return Examined(tuple(found), None)
        try:
            rendered = render_example(example, self.template)
        except TemplateRefusal as refusal:
            return Examined((*found, _refused(example, str(refusal))), None)
        found += self._trained(example, rendered)
        found += self._calls(example, answer, rendered)
        found += self._turns(example, prompt, answer, rendered)
        found += self._thinking(example, answer, rendered)
        return Examined(tuple(found), len(rendered.answer))

    def _markers(self, example: Example) -> Iterator[Finding]:
        """Marks of a template as plain text: what is rendered by hand, or breaks out of a turn."""
        for where, text in texts_of(example):
            mark = self._marks.own(text)
            if mark is not None:
                yield _finding(
                    example,
                    Level.ERROR,
                    "marker-in-text",
                    f"{where} holds {mark}, which only the chat template may write: it would be "
                    "read as a control token, not as text",
                    "Give turns and calls as `messages` and leave the marks to the template, or "
                    "take the mark out of the text.",
                )
                return
            mark = self._marks.other(text)
            if mark is not None:
                yield _finding(
                    example,
                    Level.WARNING,
                    "foreign-marker",
                    f"{where} holds {mark}, a mark of another model's chat template: this model "
                    "reads it as plain text",
                    "If the row was rendered for another model, give it as `messages` instead.",
                )
                return

    def _text(self, example: Example) -> Iterator[Finding]:
        if self.template is not None and self._rules.service == "hf-jobs":
            yield _finding(
                example,
                Level.ERROR,
                "raw-text",
                "prompt and completion are plain texts, which bypass the model's chat template: "
                "the model would be trained on another form than it is asked in",
                "Give the row as `messages` (format: chat), or `prompt` and `completion` as lists "
                "of messages.",
            )
        if example.answer == "":
            yield _nothing_trained(example, "the completion is empty")

    def _trained(self, example: Example, rendered: Rendered) -> Iterator[Finding]:
        read = parse(rendered.answer, self._syntax(example) or Syntax.OPENAI)
        if not rendered.answer.strip():
            yield _nothing_trained(example, "the template leaves nothing of the answer")
        elif read.empty and not answer_calls(example):
            yield _finding(
                example,
                Level.ERROR,
                "only-end-of-turn",
                "all that is trained on is the end of a turn: the model learns to say nothing",
                "Give the row an answer, or leave it out.",
            )
        if not rendered.continues:
            yield _finding(
                example,
                Level.WARNING,
                "prompt-differs",
                "the rendered row does not start with what the model is asked with: the template "
                "opens the answer differently for training",
                "The loss starts where the two part. Look at how the template ends a prompt.",
            )

    def _syntax(self, example: Example) -> Syntax | None:
        return _detected(self.template.text_for(example.tools)) if self.template else None

    def _calls(
        self, example: Example, answer: tuple[Message, ...], rendered: Rendered
    ) -> Iterator[Finding]:
        """Whether the calls of every turn read back the same."""
        for number, turn in enumerate(answer):
            if not turn.calls:
                continue
            text = rendered.answer
            if len(answer) > 1:
                before = (*_turns(example.prompt), *answer[:number])
                alone = dataclasses.replace(example, prompt=before, answer=(turn,))
                try:
                    text = render_example(alone, self.template).answer
                except TemplateRefusal as refusal:
                    yield _refused(example, str(refusal))
                    return
            finding = self._calls_of_turn(example, turn, text)
            if finding is not None:
                yield finding
                return

    def _calls_of_turn(self, example: Example, turn: Message, text: str) -> Finding | None:
        syntax = self._syntax(example)
        if syntax is None:
            lost = [call.name for call in turn.calls if call.name not in text]
            if lost:
                return _finding(
                    example,
                    Level.ERROR,
                    "calls-lost",
                    f"the template writes nothing of the call of {lost[0]!r}: the model is not "
                    "trained to make it",
                    "Take a model whose chat template knows tools, or name another template by "
                    "`chat_template:`.",
                )
            return _finding(
                example,
                Level.WARNING,
                "calls-not-verified",
                "the template writes calls in a syntax that this tool cannot read: whether they "
                "survive is not checked",
            )
        read = parse(text, syntax)
        changed = difference(turn.calls, read.calls)
        if changed is None and not read.problems:
            return None
        reason = changed or ""
        if read.problems:
            reason = "; ".join(part for part in (reason, str(read.problems[0])) if part)
        return _finding(
            example,
            Level.ERROR,
            "calls-changed",
            f"the rendered calls do not read back as they are in the row: {reason}",
            f"The template writes calls in the syntax of {syntax}; change the row so that it can "
            "carry them, or take a template that does.",
        )

    def _turns(
        self,
        example: Example,
        prompt: tuple[Message, ...],
        answer: tuple[Message, ...],
        rendered: Rendered,
    ) -> Iterator[Finding]:
        """Turns whose text does not come out, or comes out within another turn."""
        for message in (*prompt, *answer):
            text = _THINKING.sub("", message.content or "").strip()
            if text and not _holds(rendered.whole, text):
                yield _finding(
                    example,
                    Level.ERROR,
                    "turn-dropped",
                    f"the template drops the text of the {message.role}'s turn: {short(text)!r}",
                    "Put the text where the template keeps it, or take another template.",
                )
        first: Role | None = prompt[0].role if prompt else None
        if first in ("system", "developer") and len(prompt) > 1 and self._merged(first):
            yield _finding(
                example,
                Level.NOTE,
                "system-merged",
                f"the template has no turn of its own for the {first} prompt: it puts it before "
                "the user's words",
            )
        missing = [tool.name for tool in example.tools if tool.name not in rendered.prompt]
        if missing:
            yield _finding(
                example,
                Level.WARNING,
                "tools-dropped",
                f"the template does not tell the model of the tool {missing[0]!r}",
                "Describe the tools in the system prompt, or take a model whose chat template "
                "knows tools.",
            )
        declared = self._syntax(example) is Syntax.FUNCTIONGEMMA and example.tools
        if declared and ACTIVATION not in rendered.prompt:
            yield _finding(
                example,
                Level.WARNING,
                "no-activation",
                "the developer turn does not hold the words by which FunctionGemma calls functions",
                f"Start the developer prompt with: {ACTIVATION}",
            )

    def _is_merged(self, role: Role) -> bool:
        """Whether the template writes no mark between this role's text and the user's."""
        if self.template is None:
            return False
        first, second = "Instructions go here", "Question goes here"
        try:
            text = self.template.render(
                (Message(role, first), Message("user", second)), (), add_generation_prompt=True
            )
        except TemplateRefusal:
            return False
        _, found, rest = text.partition(first)
        between, also_found, _ = rest.partition(second)
        return bool(found and also_found) and self._marks.own(between) is None

    def _thinking(
        self, example: Example, answer: tuple[Message, ...], rendered: Rendered
    ) -> Iterator[Finding]:
        """Thinking before an answer that the template leaves out."""
        for message in answer:
            thoughts = [message.thinking or "", *_THINKING.findall(message.content or "")]
            dropped = [
                text for text in map(str.strip, thoughts) if text and text not in rendered.whole
            ]
            if dropped:
                yield _finding(
                    example,
                    Level.WARNING,
                    "thinking-dropped",
                    f"the template drops the thinking before the answer: {short(dropped[0])!r}",
                    "The model is not trained on it. Leave it out of the rows, or take a template "
                    "that keeps it.",
                )
                return


_detected = functools.cache(detect)


def _finding(example: Example, level: Level, code: str, message: str, hint: str = "") -> Finding:
    return Finding("template", level, code, example.place, message, hint)


def _refused(example: Example, reason: str) -> Finding:
    return _finding(
        example,
        Level.ERROR,
        "refused",
        f"the chat template refuses the row: {short(reason, 200)}",
        "Change the row's turns to what the model knows, or name another template by "
        "`chat_template:`.",
    )


def _nothing_trained(example: Example, reason: str) -> Finding:
    return _finding(
        example,
        Level.ERROR,
        "nothing-trained",
        f"no token of the row is trained on: {reason}",
        "Give the row an answer, or leave it out.",
    )


def _turns(part: str | tuple[Message, ...]) -> tuple[Message, ...]:
    return () if isinstance(part, str) else part


def _holds(whole: str, text: str) -> bool:
    """Whether a rendered row holds a text, as it is or as a JSON string."""
    return text in whole or json.dumps(text, ensure_ascii=False)[1:-1] in whole
