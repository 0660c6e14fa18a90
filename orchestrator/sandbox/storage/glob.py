"""Glob patterns of lists (`matchGlob`), as regular expressions.

`*` and `?` stop at slashes, `**` does not; `[abc]`, `[a-z]`, `[!a]` are sets, `{a,b}` are choices
and a backslash takes the next character as it is.
"""

from __future__ import annotations

import re

from orchestrator.sandbox.storage.wire import invalid


def glob_pattern(glob: str) -> str:
    """A regular expression for whole names; raises `ApiError` 400 for an unclosed bracket."""
    out: list[str] = ["(?s:"]
    at, depth = 0, 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**", at):
            # `**/` stands for any number of folders, also for none.
            slash = glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/")
            out.append("(?:.*/)?" if slash else ".*")
            at += 3 if slash else 2
            continue
        if char == "[":
            end = glob.find("]", at + 2)
            if end < 0:
                raise invalid(f"Invalid value for matchGlob: {glob!r}")
            out.append(_set(glob[at + 1 : end]))
            at = end + 1
            continue
        if char == "\\" and at + 1 < len(glob):
            at += 1
            out.append(re.escape(glob[at]))
        elif char == "{":
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        else:
            out.append(
                {"*": "[^/]*", "?": "[^/]", ",": "|" if depth else ","}.get(char) or re.escape(char)
            )
        at += 1
    if depth:
        raise invalid(f"Invalid value for matchGlob: {glob!r}")
    return "".join(out) + ")"


def _set(content: str) -> str:
    negated = content[:1] in ("!", "^")
    inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", content[1:] if negated else content)
    return f"[{'^' if negated else ''}{inner}]"
