"""A model's own tokenizer, read from its folder without transformers."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.tokens.borders import Borders, find_borders
from orchestrator.errors import InputError, Place

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Turns texts into token ids, as training does.

    `before` and `after` are what goes around a text that no template rendered; `end` is the id of
    the end-of-text token `eos`, None if the model has none.
    """

    backend: Any
    eos: str | None
    end: int | None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    special: frozenset[str] = field(default=frozenset())

    def encode(self, texts: Sequence[str]) -> list[Any]:
        """The encodings of texts, without tokens around them; `len` of one counts its tokens."""
        # A check runs in as many processes as there are cores: each takes one of them.
        if multiprocessing.parent_process() is not None:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        encodings: list[Any] = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return encodings

    def ids(self, text: str) -> list[int]:
        """The token ids of one text, without tokens around it."""
        ids: list[int] = self.encode([text])[0].ids
        return ids

    def borders(self, template: str) -> Borders:
        """Where texts that this template rendered can be cut; "" for texts without one."""
        wanted = {token for token in self.special if token in template}
        return find_borders(self.backend, wanted | ({self.eos} if self.eos else set()))


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in this folder; raises `InputError` that names the broken file.

    It stays loaded for as long as the files are the same: a large vocabulary takes a second.
    """
    stamps = []
    for name in (FILE, CONFIG):
        try:
            status = (folder / name).stat()
        except OSError as error:
            stamps.append((0, 0))
            if name == FILE:
                raise _broken(folder / name, f"cannot be read: {error.strerror}") from error
        else:
            stamps.append((status.st_mtime_ns, status.st_size))
    return _load(folder, tuple(stamps))


@functools.lru_cache(maxsize=2)
def _load(folder: Path, stamps: tuple[tuple[int, int], ...]) -> Tokenizer:  # noqa: ARG001
    from tokenizers import Tokenizer as Backend

    config = _read_config(folder / CONFIG)
    try:
        backend = Backend.from_file(str(folder / FILE))
    except Exception as error:  # the library raises nothing narrower
        raise _broken(folder / FILE, f"is no tokenizer: {error}") from error
    # A file may ask for texts that are cut or filled up; training sets both aside.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    eos = _token(config, "eos_token", folder / CONFIG)
    end = backend.token_to_id(eos) if eos is not None else None
    if eos is not None and end is None:
        raise _broken(folder / CONFIG, f"eos_token is {eos!r}, which {FILE} does not have")
    before, after = _around(backend)
    added = backend.get_added_tokens_decoder().values()
    special = frozenset(token.content for token in added if token.special)
    return Tokenizer(backend, eos, end, before, after, special)


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _broken(file, f"cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise _broken(file, f"is not JSON: {error.msg}", error.lineno) from error
    if not isinstance(config, dict):
        raise _broken(file, "is not a JSON object")
    return config


def _token(config: dict[str, Any], name: str, file: Path) -> str | None:
    """A special token, which is a text or an object that holds one."""
    value = config.get(name)
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise _broken(file, f"{name} is neither a text nor an object with `content`")
    return value


def _around(backend: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that go before and after a text; transformers 5 heeds no `add_bos_token` either."""
    plain = backend.encode("a", add_special_tokens=False).ids
    full = backend.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start]), tuple(full[start + len(plain) :])
    return (), ()


def _broken(file: Path, problem: str, line: int | None = None) -> InputError:
    return InputError(
        f"the tokenizer {problem}",
        where=Place(str(file), line),
        hint="`tokenizer:` names a folder with tokenizer.json and tokenizer_config.json as the "
        "model's repository has them; without it, tokens are estimated.",
    )
