"""The files in which people score answers: written as CSV or JSON lines, read back strictly.

They hold rows, so they stay on this machine.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError, Place
from orchestrator.evaluation.rubric import Rubric
from orchestrator.visible_text import visible, visible_line
from orchestrator.written_files import write_together

#: What may begin a formula in a spreadsheet, in full width too.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
#: Excel cuts what a cell holds beyond this.
LONGEST_CELL = 32_767
_LONGEST_NOTE = 4000
_DIGEST = re.compile(r"[0-9a-f]{64}(#\d+)?")
_SHOWN_PROBLEMS = 20
_LARGEST_FILE_BYTES = 256 << 20
_SUFFIXES = (".csv", ".jsonl")
_NEEDED = ("key", "sample", "score")


@dataclass(frozen=True)
class AuditRow:
    """An answer as a reviewer sees it; `expected` is None where it is hidden."""

    row: int
    prompt: str
    expected: str | None
    predicted: str | None
    key: str
    sample: str


@dataclass(frozen=True)
class FilledRow:
    """A line of a file that came back; `score` is None where the reviewer left it out."""

    place: Place
    sample: str
    key: str
    score: int | None
    note: str


def rubric_file(file: Path) -> Path:
    """The file with the rubric, beside that of the answers."""
    return file.with_name(f"{file.name}.rubric.txt")


def need_free(file: Path) -> None:
    """Raise `InputError` unless a sample can be written there: scores are never overwritten."""
    if file.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{file} is neither CSV nor JSON lines",
            hint="Name it .csv, for a spreadsheet, or .jsonl.",
        )
    if file.exists():
        raise InputError(
            f"{file} is there already, and may hold scores",
            hint="Name another file: --out FILE.",
        )


def write_sample(file: Path, rows: Sequence[AuditRow], rubric: Rubric) -> int:
    """Write answers to be scored, and the rubric beside them.

    Gives the number of cells that are too long for Excel, which would cut them.
    """
    need_free(file)
    is_csv = file.suffix.lower() == ".csv"
    text = _csv(rows) if is_csv else _json_lines(rows)
    # A mark at the beginning, by which Excel knows UTF-8.
    mark = b"\xef\xbb\xbf" if is_csv else b""
    content = mark + text.encode("utf-8", "backslashreplace")
    write_together({file: content, rubric_file(file): _rubric_text(rubric).encode()})
    texts = (one for row in rows for one in (row.prompt, row.expected, row.predicted))
    return sum(len(one or "") > LONGEST_CELL for one in texts) if is_csv else 0


def _fields(row: AuditRow) -> dict[str, Any]:
    """What a reviewer reads first, what they fill in, and by what it is found again."""
    shown = asdict(row)
    key, sample = shown.pop("key"), shown.pop("sample")
    if row.expected is None:
        del shown["expected"]
    return {**shown, "score": None, "note": "", "key": key, "sample": sample}


def _csv(rows: Sequence[AuditRow]) -> str:
    text = io.StringIO()
    every = [_fields(row) for row in rows]
    writer = csv.DictWriter(text, list(every[0]), lineterminator="\r\n")
    writer.writeheader()
    for fields in every:
        cells = {
            name: inert(visible(one)) if isinstance(one, str) else one
            for name, one in fields.items()
        }
        writer.writerow({**cells, "key": _key_cell(fields["key"])})
    return text.getvalue()


def _key_cell(key: str) -> str:
    """A key of which no spreadsheet makes a number or a date: 007, 1-2, 3/4, MAR1, 1e5."""
    return inert(visible(key)) if _DIGEST.fullmatch(key) else f"'{visible(key)}"


def _json_lines(rows: Sequence[AuditRow]) -> str:
    return "".join(json.dumps(_fields(row), ensure_ascii=False) + "\n" for row in rows)


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: what begins like one gets a ' in front."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _rubric_text(rubric: Rubric) -> str:
    return "\n".join(
        (
            f"{rubric.name}",
            "",
            rubric.text,
            "",
            *rubric.lines(),
            "",
            "Fill in `score` with one of these numbers, or leave it empty; `note` is for you and",
            "stays on the machine on which it is recorded. Change nothing else.",
            "",
        )
    )


# -------------------- reading


class _Problems:
    """What is wrong with a file: all of it is told at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._found: list[tuple[Place, str]] = []

    def add(self, place: Place, words: str) -> None:
        self._found.append((place, visible_line(words)))

    def raise_any(self, hint: str) -> None:
        """Raise `InputError` with all of them, if there are any."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda one: one[0].line or 0)
        if len(found) == 1:
            raise InputError(found[0][1], where=found[0][0], hint=hint)
        lines = [f"{place}: {words}" for place, words in found[:_SHOWN_PROBLEMS]]
        if len(found) > _SHOWN_PROBLEMS:
            lines.append(f"… and {len(found) - _SHOWN_PROBLEMS} more")
        told = "\n  ".join(lines)
        raise InputError(f"{self._file} has {len(found)} problems:\n  {told}", hint=hint)


def read_filled(file: Path, rubric: Rubric, keys: Mapping[str, Sequence[str]]) -> list[FilledRow]:
    """The lines of a file that came back from a reviewer. `keys` are those of each sample.

    Raises `InputError` with every problem: scores that are none of the rubric's, keys that are
    unknown or there twice, lines of another sample.
    """
    problems = _Problems(file)
    rows: list[FilledRow] = []
    seen: dict[str, Place] = {}
    # As a file of CSV has them.
    written = {sample: {_key_cell(key): key for key in those} for sample, those in keys.items()}
    for place, fields in _lines(file, problems):
        row = _filled(place, fields, rubric, problems)
        if row is None:
            continue
        known = written.get(row.sample)
        key = row.key if known is None else known.get(row.key, row.key)
        if known is None:
            problems.add(
                place, f"column `sample`: {_short(row.sample)} is no sample of these answers"
            )
        elif key not in keys[row.sample]:
            problems.add(place, f"column `key`: {_short(row.key)} is no row of the sample")
        elif key in seen:
            problems.add(place, f"column `key`: the same row as on line {seen[key].line}")
        seen.setdefault(key, place)
        rows.append(FilledRow(place, row.sample, key, row.score, row.note))
    problems.raise_any(
        f"Scores are whole numbers from {rubric.lowest} to {rubric.highest}; change nothing but "
        "`score` and `note` of what `orchestrator audit sample` wrote."
    )
    samples = {row.sample for row in rows}
    if len(samples) > 1:
        raise InputError(f"{file} has rows of {len(samples)} samples", hint="Record one at a time.")
    if not any(row.score is not None for row in rows):
        raise InputError(f"{file} has no scores yet", hint="Fill in the column `score`.")
    return rows


def _filled(
    place: Place, fields: Mapping[str, Any], rubric: Rubric, problems: _Problems
) -> FilledRow | None:
    lacking = [name for name in _NEEDED if name not in fields]
    if lacking:
        problems.add(place, f"there is no `{'`, no `'.join(lacking)}`")
        return None
    score, note = fields["score"], fields.get("note") or ""
    if isinstance(score, str):
        score = score.strip()
        score = int(score) if re.fullmatch(r"[0-9]{1,3}", score, re.ASCII) else score or None
    scale = range(rubric.lowest, rubric.highest + 1)
    if score is not None and (type(score) is not int or score not in scale):
        problems.add(
            place,
            f"column `score`: {_short(fields['score'])} is no whole number from {rubric.lowest} to "
            f"{rubric.highest}",
        )
        score = None
    if not isinstance(note, str) or len(note) > _LONGEST_NOTE:
        problems.add(place, f"column `note`: it is no text of at most {_LONGEST_NOTE} characters")
        note = ""
    return FilledRow(place, str(fields["sample"]).strip(), str(fields["key"]), score, note.strip())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}…"


def _lines(file: Path, problems: _Problems) -> Iterator[tuple[Place, dict[str, Any]]]:
    try:
        if file.stat().st_size > _LARGEST_FILE_BYTES:
            raise InputError(f"{file} is no file of scores: it is too large")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read {file}: {error.strerror}", hint="Name the file that was filled in."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not UTF-8 (byte {error.start + 1})",
            hint='Save it as "CSV UTF-8", or as Unicode (UTF-8).',
        ) from error
    name = str(file)
    return (
        _json_objects(text, name, problems)
        if text.lstrip()[:1] == "{"
        else _csv_records(text, name, problems)
    )


def _json_objects(
    text: str, name: str, problems: _Problems
) -> Iterator[tuple[Place, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = Place(name, number)
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield place, value
        else:
            problems.add(place, "this line is no JSON object")


def _csv_records(
    text: str, name: str, problems: _Problems
) -> Iterator[tuple[Place, dict[str, Any]]]:
    head = text.partition("\n")[0]
    # Spreadsheets of many countries write semicolons; some write tabs.
    delimiter = max(",;\t", key=head.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    before = csv.field_size_limit(_LARGEST_FILE_BYTES)  # the limit is that of the whole process
    try:
        header = [one.strip() for one in next(lines, [])]
        for lacking in (one for one in _NEEDED if one not in header):
            problems.add(Place(name, 1), f"there is no column `{lacking}`")
        if not set(_NEEDED) <= set(header):
            return
        start = lines.line_num + 1
        for record in lines:
            place, start = Place(name, start), lines.line_num + 1
            if not any(record):
                continue
            if len(record) != len(header):
                problems.add(place, f"{len(record)} cells where the header has {len(header)}")
                continue
            yield place, dict(zip(header, record, strict=True))
    except csv.Error as error:
        problems.add(Place(name, lines.line_num), f"this is no CSV: {error}")
    finally:
        csv.field_size_limit(before)
