"""Two runs compared row by row."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.evaluation.comparison import better_than, changed, compare, match
from orchestrator.evaluation.intervals import Paired
from orchestrator.evaluation.scores import Answered, MetricKind, Part, RowScores, yes
from orchestrator.evaluation.texts import BLEU, TextScorer

RIGHT = MetricKind("right", "Rows that are right.")
RECALL = MetricKind("recall", "Tools found through tools expected.")
LOSS = MetricKind("loss", "Nats by token.", higher_is_better=False)


def rights(text: str) -> list[RowScores]:
    """Rows that are right (`+`), wrong (`-`), or not there (a space)."""
    marks = ((n, mark) for n, mark in enumerate(text) if mark != " ")
    return [RowScores(f"row {n:04}", {"right": yes(mark == "+")}) for n, mark in marks]


def parts(name: str, *values: float | None) -> list[RowScores]:
    return [
        RowScores(f"row {n:04}", {} if value is None else {name: Part(value * 4, 4)})
        for n, value in enumerate(values)
    ]


def noisy(name: str, mean: float, rows: int, seed: int) -> list[RowScores]:
    draw = random.Random(seed)  # noqa: S311 (repeatable, no secret)
    return parts(name, *[draw.gauss(mean, 0.1) for _ in range(rows)])


def test_rows_are_matched_by_key_whatever_their_order() -> None:
    before, after = rights("+- +"), rights("--+ ")
    found = match(before, after[::-1])
    assert [(old.key, new.key) for old, new in found.pairs] == [
        ("row 0000", "row 0000"),
        ("row 0001", "row 0001"),
    ]
    assert (found.only_before, found.only_after) == (("row 0003",), ("row 0002",))


def test_a_key_that_comes_twice_is_matched_in_turn() -> None:
    same = [RowScores("a", {"right": yes(right)}) for right in (True, False)]
    found = match(same, same[:1])
    assert [old is new for old, new in found.pairs] == [True]
    assert found.only_before == ("a",)
    assert changed(RIGHT, same, same) == ()


def test_shares_are_compared_by_the_rows_that_changed() -> None:
    found = compare(RIGHT, rights("++---"), rights("+-++-"))
    assert found is not None
    assert found.changes == Paired(both=1, gained=2, lost=1, neither=1)
    assert (found.before, found.after) == (2 / 5, 3 / 5)
    assert found.difference == pytest.approx(0.2)
    assert found.p_value == 1.0
    assert found.low < 0 < found.high


def test_rows_of_one_run_alone_do_not_count() -> None:
    found = compare(RIGHT, rights("+-- "), rights("+ -+"))
    assert found is not None
    assert (found.rows, found.before, found.after) == (2, 0.5, 0.5)
    assert compare(RIGHT, rights("+"), rights(" +")) is None
    assert compare(RECALL, rights("+"), rights("+")) is None


def test_a_row_that_counts_in_one_run_only_is_in_the_ratio_of_that_run() -> None:
    found = compare(RECALL, parts("recall", 0.5, 1.0), parts("recall", 0.5, None))
    assert found is not None
    assert (found.rows, found.before, found.after, found.changes) == (2, 0.75, 0.5, None)


def test_a_run_against_itself_has_no_difference() -> None:
    rows = noisy("recall", 0.5, 50, seed=1)
    found = compare(RECALL, rows, rows)
    assert found is not None
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert changed(RECALL, rows, rows) == ()
    verdict = better_than(RECALL, rows, rows)
    assert verdict is not None
    assert not verdict.better


def test_the_rows_that_changed_are_named_with_their_direction() -> None:
    found = changed(LOSS, parts("loss", 1, 2, 3, None), parts("loss", 1, 1, 4, 2))
    assert [(one.key, one.before, one.after, one.better) for one in found] == [
        ("row 0001", 2, 1, True),
        ("row 0002", 3, 4, False),
        ("row 0003", None, 2, True),
    ]


def test_pairing_sees_a_difference_that_two_intervals_hide() -> None:
    before = noisy("recall", 0.5, 60, seed=2)
    after = [
        RowScores(row.key, {"recall": Part(row.parts["recall"].above + 0.04, 4)}) for row in before
    ]
    found = compare(RECALL, before, after)
    assert found is not None
    assert 0 < found.low <= found.high
    assert found.difference == pytest.approx(0.01)


def test_better_needs_the_good_direction_of_the_metric() -> None:
    low, high = noisy("loss", 1.0, 40, seed=3), noisy("loss", 2.0, 40, seed=4)
    for rows, other, better in ((low, high, True), (high, low, False)):
        verdict = better_than(LOSS, rows, other)
        assert verdict is not None
        assert verdict.better is better
        assert verdict.test == "paired bootstrap, one-sided"


@pytest.mark.parametrize(
    ("gained", "lost", "p_value", "better"),
    [(5, 0, 1 / 32, True), (4, 0, 1 / 16, False), (8, 1, 10 / 512, True), (6, 3, 130 / 512, False)],
)
def test_shares_are_better_by_the_exact_test(
    gained: int, lost: int, p_value: float, better: bool
) -> None:
    before = rights("-" * gained + "+" * lost + "+-")
    after = rights("+" * gained + "-" * lost + "+-")
    verdict = better_than(RIGHT, after, before)
    assert verdict is not None
    assert verdict.p_value == pytest.approx(p_value)
    assert verdict.better is better
    assert better_than(RIGHT, after, before, 0.999) != verdict


def test_a_few_rows_make_nobody_sure() -> None:
    """All draws of one better row are better; that is no evidence."""
    for rows in range(1, 5):
        verdict = better_than(
            RECALL, parts("recall", *[0.9] * rows), parts("recall", *[0.1] * rows)
        )
        assert verdict is not None
        assert verdict.p_value == pytest.approx(0.5**rows)
        assert not verdict.better


def test_a_broken_loss_is_never_better_and_never_in_the_way() -> None:
    broken, sound = parts("loss", *[math.inf] * 9), parts("loss", *[1.0] * 9)
    worse, better = better_than(LOSS, broken, sound), better_than(LOSS, sound, broken)
    assert worse is not None
    assert better is not None
    assert (worse.better, better.better) == (False, True)
    same = better_than(LOSS, broken, broken)
    assert same is not None
    assert not same.better


def test_more_confidence_needs_more_draws_and_has_a_limit() -> None:
    low, high = noisy("recall", 0.2, 30, seed=5), noisy("recall", 0.8, 30, seed=6)
    verdict = better_than(RECALL, high, low, 0.999)
    assert verdict is not None
    assert verdict.better
    for confidence in (0.4, 0.9999, math.nan):
        with pytest.raises(ValueError, match="is not from"):
            better_than(RECALL, high, low, confidence)


def test_bleu_of_two_runs_is_compared_as_a_corpus() -> None:
    text = "one two three four five six seven eight nine ten"
    half = [text.replace("five", "x") if n % 2 else text for n in range(30)]
    before, after = (
        [TextScorer().score(Answered(f"{n:02}", text, said)) for n, said in enumerate(texts)]
        for texts in (half, [text] * 30)
    )
    found = compare(BLEU, before, after)
    assert found is not None
    assert found.after == pytest.approx(100)
    assert 0 < found.low < found.difference < found.high
    assert len(changed(BLEU, before, after)) == 15


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_turning_the_runs_round_turns_the_difference(pairs: list[tuple[bool, bool]]) -> None:
    before, after = (rights("".join("-+"[p[side]] for p in pairs)) for side in (0, 1))
    there, back = compare(RIGHT, before, after), compare(RIGHT, after[::-1], before)
    assert there is not None
    assert back is not None
    assert there.difference == -back.difference
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == back.p_value
    both = [better_than(RIGHT, *runs) for runs in ((before, after), (after, before))]
    assert sum(one.better for one in both if one) <= 1


def test_chance_is_called_better_no_more_often_than_the_confidence_says() -> None:
    """Of 200 pairs of runs that differ by chance alone, about 20 pass at 90 %."""
    passed = 0
    for seed in range(200):
        before, after = (noisy("recall", 0.5, 25, 2 * seed + side) for side in (0, 1))
        verdict = better_than(RECALL, after, before, 0.9)
        assert verdict is not None
        passed += verdict.better
    # Four standard deviations of a count of 200 at 10 % are 17.
    assert 3 <= passed <= 37


def test_mcnemar_is_that_of_statsmodels_and_scipy() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    stats = pytest.importorskip("scipy.stats")
    for gained, lost in ((0, 1), (5, 0), (8, 1), (6, 3), (40, 60), (130, 100)):
        before = rights("-" * gained + "+" * lost + "+-")
        after = rights("+" * gained + "-" * lost + "+-")
        found, verdict = compare(RIGHT, before, after), better_than(RIGHT, after, before)
        assert found is not None
        assert verdict is not None
        reference = tables.mcnemar([[1, lost], [gained, 1]], exact=True)
        assert found.p_value == pytest.approx(reference.pvalue)
        one_sided = stats.binomtest(gained, gained + lost, alternative="greater")
        assert verdict.p_value == pytest.approx(one_sided.pvalue)


def test_the_paired_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    np = pytest.importorskip("numpy")
    before, after = noisy("recall", 0.5, 80, seed=8), noisy("recall", 0.53, 80, seed=9)
    found = compare(RECALL, before, after)
    assert found is not None
    old, new = ([row.parts["recall"].above / 4 for row in rows] for rows in (before, after))
    reference = stats.bootstrap(
        (old, new),
        lambda a, b, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis),
        paired=True,
        method="percentile",
        n_resamples=9999,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = reference.high - reference.low
    assert found.low == pytest.approx(reference.low, abs=0.06 * width)
    assert found.high == pytest.approx(reference.high, abs=0.06 * width)
