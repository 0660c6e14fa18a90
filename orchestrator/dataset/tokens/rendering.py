"""An example as the text that the model is trained on, prompt and answer apart."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from orchestrator.dataset.example import Example, Message, answer_text, prompt_text
from orchestrator.dataset.tokens.templates import ChatTemplate


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the model reads, and the whole text of the row.

    `prompt` is what the model sees when it is asked (with the opening of its turn). The loss starts
    where the two part, so what they share is not trained on.
    """

    prompt: str
    whole: str

    @property
    def continues(self) -> bool:
        """Whether the whole starts with the prompt; if not, training and use see other texts."""
        return self.whole.startswith(self.prompt)

    @property
    def answer(self) -> str:
        """What is trained on: the whole from where it parts from the prompt."""
        if self.continues:
            return self.whole[len(self.prompt) :]
        pairs = enumerate(zip(self.prompt, self.whole, strict=False))
        shared = min(len(self.prompt), len(self.whole))
        return self.whole[next((at for at, (one, other) in pairs if one != other), shared) :]


def render_example(example: Example, template: ChatTemplate | None) -> Rendered:
    """The texts of an example. Raises `TemplateRefusal`.

    Texts go through no template and pass as they are; chats without a template as plain lines.
    """
    prompt, answer = example.prompt, example.answer
    if isinstance(prompt, str) or isinstance(answer, str) or template is None:
        start = prompt_text(example)
        return Rendered(start, start + answer_text(example))
    start = template.render(prompt, example.tools, add_generation_prompt=True)
    whole = template.render((*prompt, *answer), example.tools, add_generation_prompt=False)
    return Rendered(start, whole)


def as_sent(example: Example, service: str) -> Example:
    """The row with the turns that its service gets.

    Vertex gets one system turn for all prompts of system and developer, and thinking as a part of
    the answer's text; see `dataset.output`.
    """
    prompt, answer = example.prompt, example.answer
    if service != "vertex" or isinstance(prompt, str) or isinstance(answer, str):
        return example
    opening = [m.content for m in prompt if m.role in ("system", "developer") and m.content]
    rest = [m for m in prompt if m.role not in ("system", "developer")]
    first = [Message("system", "\n\n".join(opening))] if opening else []
    sent = tuple(map(_with_thinking, (*first, *rest)))
    return dataclasses.replace(example, prompt=sent, answer=tuple(map(_with_thinking, answer)))


def _with_thinking(message: Message) -> Message:
    if not message.thinking:
        return message
    text = f"<think>\n{message.thinking}\n</think>\n\n{message.content or ''}".rstrip()
    return dataclasses.replace(message, content=text, thinking=None)
