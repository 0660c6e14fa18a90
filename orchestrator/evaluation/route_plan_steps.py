"""Compares the steps of two route plans: the order of their tools, and what is asked of each.

Both look only at steps that the plans share, tool by tool. A step too few or too many is seen by
recall and precision, and moves neither.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

#: A word as ROUGE's reference counts it (letters and digits), for letters of every script.
_WORD = re.compile(r"[^\W_]+")


def order_kept(expected: Sequence[str], given: Sequence[str]) -> float:
    """The longest common subsequence of two sequences through what they have in common.

    What they have in common is counted with repetitions. 1 where all of it stands in the same
    order, whatever else stands between; 0 where nothing is shared.
    """
    common = (Counter(expected) & Counter(given)).total()
    return _longest_common(expected, given) / common if common else 0.0


def _longest_common(expected: Sequence[str], given: Sequence[str]) -> int:
    """How long the longest common subsequence is (Wagner and Fischer 1974)."""
    row = [0] * (len(expected) + 1)
    known = {*expected}
    for item in given:
        if item not in known:
            continue
        diagonal = 0
        for place, wanted in enumerate(expected, start=1):
            above = row[place]
            row[place] = diagonal + 1 if item == wanted else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def similarity(expected: Sequence[tuple[str, str]], given: Sequence[tuple[str, str]]) -> float:
    """How alike the arguments of steps (tool, argument) are: the mean `rouge_1` of pairs.

    Steps of one tool are paired in their order; where one plan has more of them, those are left
    out that let the rest agree best. 0 where no pair is found.
    """
    pairs, total = 0, 0.0
    for tool in sorted({tool for tool, _ in expected}):
        ours = [argument for name, argument in expected if name == tool]
        theirs = [argument for name, argument in given if name == tool]
        pairs += min(len(ours), len(theirs))
        total += _best_pairs(ours, theirs)
    return total / pairs if pairs else 0.0


def _best_pairs(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """The greatest sum of likenesses where each text of the shorter list is paired, in order."""
    few, many = sorted((_counted(ours), _counted(theirs)), key=len)
    # The best sum with so many texts of the shorter list paired.
    best = [0.0] + [float("-inf")] * len(few)
    for one in many:
        for place in range(len(few), 0, -1):
            before = best[place - 1]
            if before >= 0:
                best[place] = max(best[place], before + _alike(few[place - 1], one))
    return best[-1]


_Counted = tuple[str, Counter[str]]


def _counted(texts: Sequence[str]) -> list[_Counted]:
    return [(text, Counter(_WORD.findall(text.lower()))) for text in texts]


def rouge_1(one: str, other: str) -> float:
    """ROUGE-1 as an F-measure (Lin 2004): twice the shared words through the words of both.

    Words count as often as they stand, in lower case, without stemming. Equal texts are 1 even
    where they hold no word.
    """
    first, second = _counted((one, other))
    return _alike(first, second)


def _alike(one: _Counted, other: _Counted) -> float:
    if one[0] == other[0]:
        return 1.0
    words = one[1].total() + other[1].total()
    return 2 * (one[1] & other[1]).total() / words if words else 0.0
