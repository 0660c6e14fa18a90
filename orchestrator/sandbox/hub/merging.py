"""Changes of trees: what differs, how it reads, and how two changes of one tree come together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff

from orchestrator.sandbox.hub.git import Entry

Tree = Mapping[str, Entry]
Read = Callable[[Entry], bytes]
_NO_OBJECT = "0" * 40
#: Larger texts are not merged line by line, nor shown: comparing them takes too long.
_TEXT_LIMIT_BYTES = 1 << 20
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Merge:
    """The merged tree, where bytes are new contents; empty if any path is in conflict."""

    files: dict[str, Entry | bytes]
    conflicts: tuple[str, ...]


def changed_paths(before: Tree, after: Tree) -> list[str]:
    """The paths whose content is not the same, in order."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def merge_trees(base: Tree, ours: Tree, theirs: Tree, read: Read) -> Merge:
    """Bring two changes of one tree together, as git's three-way merge does."""
    files: dict[str, Entry | bytes] = dict(ours)
    conflicts: set[str] = set()
    for path in changed_paths(base, theirs):
        old, our, their = base.get(path), ours.get(path), theirs.get(path)
        if our == their:
            continue
        if our != old:
            merged = _merge_contents(old, our, their, read)
            if merged is None:
                conflicts.add(path)
            else:
                files[path] = merged
        elif their is None:
            files.pop(path, None)
        else:
            files[path] = their
    conflicts |= {path for path in files if any(parent in files for parent in _parents(path))}
    return Merge({} if conflicts else files, tuple(sorted(conflicts)))


def unified(before: Tree, after: Tree, read: Read) -> str:
    """The change as `git diff` writes it. LFS files are left out, as the Hub leaves them out."""
    return "".join(
        "".join(_file_diff(path, before.get(path), after.get(path), read))
        for path in changed_paths(before, after)
        if not any(one and one.sha256 for one in (before.get(path), after.get(path)))
    )


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _merge_contents(
    old: Entry | None, our: Entry | None, their: Entry | None, read: Read
) -> bytes | None:
    entries = [one for one in (old, our, their) if one]
    if our is None or their is None or any(one.sha256 for one in entries):
        return None
    if any(one.size_bytes > _TEXT_LIMIT_BYTES for one in entries):
        return None
    contents = [read(one) if one else b"" for one in (old, our, their)]
    return None if any(b"\0" in one for one in contents) else merge_lines(*contents)


def merge_lines(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both changes of a text, or None if they touch the same lines or neighbouring ones."""
    lines = base.splitlines(keepends=True)
    first, second = _edits(lines, ours), _edits(lines, theirs)
    for start, end, put in first:
        for other_start, other_end, other_put in second:
            touching = start <= other_end and other_start <= end
            if touching and (start, end, put) != (other_start, other_end, other_put):
                return None
    merged = list(lines)
    for start, end, put in sorted({*first, *second}, reverse=True):
        merged[start:end] = put
    return b"".join(merged)


def _edits(lines: list[bytes], text: bytes) -> list[tuple[int, int, tuple[bytes, ...]]]:
    """What makes `text` of `lines`: where to cut, and what to put there."""
    new = text.splitlines(keepends=True)
    return [
        (start, end, tuple(new[new_start:new_end]))
        for tag, start, end, new_start, new_end in SequenceMatcher(
            None, lines, new, autojunk=False
        ).get_opcodes()
        if tag != "equal"
    ]


def _file_diff(path: str, old: Entry | None, new: Entry | None, read: Read) -> Iterator[str]:
    yield f"diff --git a/{path} b/{path}\n"
    index = f"index {old.oid if old else _NO_OBJECT}..{new.oid if new else _NO_OBJECT}"
    if old and new:
        yield f"{index} 100644\n"
    else:
        yield f"{'new' if new else 'deleted'} file mode 100644\n{index}\n"
    names = (f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null")
    small = all(one.size_bytes <= _TEXT_LIMIT_BYTES for one in (old, new) if one)
    contents = [read(one) if one and small else b"" for one in (old, new)]
    if not small or any(b"\0" in one for one in contents):
        yield f"Binary files {names[0]} and {names[1]} differ\n"
        return
    # Only a line feed ends a line in a diff, whatever else Python takes for an end.
    before, after = (_LINE.findall(one.decode("utf-8", "replace")) for one in contents)
    for line in unified_diff(before, after, *names):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
