"""Texts against one right text, and losses by token."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.evaluation.scores import (
    Answered,
    Likelihood,
    MetricKind,
    RowScores,
    metric_of,
    metrics_of,
)
from orchestrator.evaluation.texts import (
    BLEU,
    BY_TOKEN,
    CHRF,
    EXACT_MATCH,
    LOSS,
    PERPLEXITY,
    TOKEN_ACCURACY,
    TextScorer,
    token_parts,
)

SENTENCE = "The adapter was published on Monday, after it had passed its gates."


def scored(*pairs: tuple[str, str | None]) -> list[RowScores]:
    """Rows of (expected, predicted)."""
    return [TextScorer().score(Answered(f"row {n}", *pair)) for n, pair in enumerate(pairs)]


def value(kind: MetricKind, *pairs: tuple[str, str | None]) -> float:
    found = metric_of(kind, scored(*pairs))
    assert found is not None
    return found.value


def test_a_text_against_itself_is_perfect() -> None:
    values = [one.value for one in metrics_of(TextScorer(), scored((SENTENCE, SENTENCE)))]
    assert values == [1.0, pytest.approx(100.0), 100.0]


def test_white_space_at_the_ends_is_no_difference_and_case_is_one() -> None:
    assert value(EXACT_MATCH, (SENTENCE, f" {SENTENCE}\n")) == 1
    assert value(EXACT_MATCH, (SENTENCE, SENTENCE.lower())) == 0


def test_a_missing_word_is_counted_by_what_counts_words_and_letters() -> None:
    wrong = SENTENCE.replace("Monday, ", "")
    assert value(EXACT_MATCH, (SENTENCE, wrong)) == 0
    assert 50 < value(BLEU, (SENTENCE, wrong)) < 90
    assert 70 < value(CHRF, (SENTENCE, wrong)) < 99


def test_turned_words_cost_bleu_more_than_letters() -> None:
    turned = " ".join(reversed(SENTENCE.split()))
    assert value(BLEU, (SENTENCE, turned)) < 20
    assert value(CHRF, (SENTENCE, turned)) > 50


def test_bleu_is_that_of_all_rows_together_and_no_mean() -> None:
    pairs = [(SENTENCE, SENTENCE), ("Short and wholly different words here.", "No.")]
    apart = [value(BLEU, pair) for pair in pairs]
    assert apart == [pytest.approx(100), 0]
    assert abs(value(BLEU, *pairs) - sum(apart) / 2) > 10


def test_orders_without_a_match_count_half_and_half_of_a_half() -> None:
    """4 of 5 words, 2 of 4 pairs, 0 of 3 triples, 0 of 2 quadruples."""
    smoothed = (4 / 5 * 2 / 4 * 0.5 / 3 * 0.25 / 2) ** 0.25
    assert value(BLEU, ("a b c d e", "a b x d e")) == pytest.approx(100 * smoothed)


def test_nothing_said_scores_nothing_and_says_why() -> None:
    (row,) = scored((SENTENCE, None))
    assert row.causes == ("empty",)
    assert [value(kind, (SENTENCE, None)) for kind in (EXACT_MATCH, CHRF, BLEU)] == [0, 0, 0]


def test_an_empty_answer_beside_a_right_one_makes_the_corpus_too_short() -> None:
    both = value(BLEU, (SENTENCE, SENTENCE), (SENTENCE, None))
    assert both == pytest.approx(100 * math.exp(1 - 2))


@pytest.mark.parametrize("said", ["\ud800\udfff", "[" * 200_000, "NaN", '{"a":1,"a":2}', "\x00"])
def test_nothing_that_a_model_says_raises(said: str) -> None:
    (row,) = scored((SENTENCE, said))
    assert row.causes == ("other text",)


def test_an_empty_expected_text_is_the_mistake_of_the_file() -> None:
    with pytest.raises(InputError, match="row row 0: the expected text is empty"):
        scored((" \n", "x"))


TEXTS = st.text(st.sampled_from("ab .,-0$é\n&;"), max_size=30)
PAIRS = st.lists(st.tuples(TEXTS.filter(str.strip), TEXTS), min_size=1, max_size=5)


@settings(max_examples=60)
@given(PAIRS)
def test_scores_stay_in_their_range_and_repetition_moves_none(pairs: list[tuple[str, str]]) -> None:
    rows = scored(*pairs)
    for kind, most in ((EXACT_MATCH, 1), (CHRF, 100), (BLEU, 100)):
        parts = [kind.parts_of(row) for row in rows]
        counted = [one for one in parts if one is not None]
        found = kind.value_of(counted)
        assert 0 <= found <= most
        assert kind.value_of(counted[::-1]) == found
        if kind is not BLEU or all(sum(p.above for p in c) for c in zip(*counted, strict=True)):
            assert kind.value_of(counted * 3) == pytest.approx(found)


def test_the_interval_of_bleu_holds_its_value_and_is_the_same_each_time() -> None:
    draw = random.Random(1)  # noqa: S311 (repeatable, no secret)
    words = SENTENCE.split()
    pairs = [(SENTENCE, " ".join(w for w in words if draw.random() < 0.8)) for _ in range(40)]
    first, second = (metric_of(BLEU, scored(*pairs)) for _ in range(2))
    assert first == second
    assert first is not None
    assert first.low < first.value < first.high


def test_bleu_and_chrf_are_those_of_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    draw = random.Random(3)  # noqa: S311 (repeatable, no secret)
    words = "the cat sat, 3.14 1,000 e.g. don't -5 x-y 7-8 &quot;hi&quot; a&b $5 50% (see fig."
    vocabulary = [*words.split(), "2).", "Ünï", "日本", "<skipped>", "…", "/code", "[x]", "{y}"]
    vocabulary += ["~", "^", "`q`", "\n", "-\n", "a\tb"]
    for _ in range(100):
        expected = [
            " ".join(draw.choices(vocabulary, k=draw.randint(1, 9))) + "." for _ in range(2)
        ]
        said = [" ".join(w for w in one.split(" ") if draw.random() < 0.7) for one in expected]
        said[0] = " ".join(draw.choices(vocabulary, k=draw.randint(0, 12)))
        pairs = list(zip(expected, said, strict=True))
        for kind, reference in ((BLEU, sacrebleu.corpus_bleu), (CHRF, sacrebleu.corpus_chrf)):
            parts = [kind.parts_of(row) for row in scored(*pairs)]
            found = kind.value_of([one for one in parts if one is not None])
            assert found == pytest.approx(reference(said, [expected]).score, abs=1e-9)


def test_losses_are_weighed_by_their_tokens() -> None:
    rows = [
        RowScores("a", token_parts(tokens=10, loss=1.0, right=9)),
        RowScores("b", token_parts(tokens=30, loss=2.0, right=15)),
    ]
    values = {kind: metric_of(kind, rows) for kind in BY_TOKEN}
    assert [one.value for one in values.values() if one] == [
        pytest.approx(1.75),
        pytest.approx(math.exp(1.75)),
        pytest.approx(24 / 40),
    ]
    assert (LOSS.higher_is_better, TOKEN_ACCURACY.higher_is_better) == (False, True)


def test_a_row_without_tokens_or_without_a_measurement_gives_no_part() -> None:
    assert token_parts(tokens=0, loss=1.0, right=0) == {}
    assert set(token_parts(tokens=3, right=2)) == {"token_accuracy"}


def test_a_loss_that_is_not_a_number_is_worse_than_any() -> None:
    rows = [RowScores("a", token_parts(tokens=5, loss=one)) for one in (1.0, math.nan)]
    found = metric_of(PERPLEXITY, rows)
    assert found is not None
    assert found.value == math.inf


@pytest.mark.parametrize(("tokens", "loss", "right"), [(-1, 1, 0), (3, -1, 0), (3, 1, 4)])
def test_numbers_that_no_measurement_gives_are_refused(
    tokens: int, loss: float, right: int
) -> None:
    with pytest.raises(ValueError, match="no measurement"):
        token_parts(tokens=tokens, loss=loss, right=right)


def likely(*rows: tuple[int, float | None, int | None]) -> dict[str, float]:
    """The values of rows by tokens, sum of losses and tokens that are right."""
    scored = [
        TextScorer().score(Answered(f"row {n}", SENTENCE, "x", likelihood=Likelihood(*row)))
        for n, row in enumerate(rows)
    ]
    return {one.name: one.value for one in metrics_of(TextScorer(), scored)}


def test_what_was_measured_of_the_expected_answers_is_scored_by_token() -> None:
    values = likely((10, 10.0, 9), (30, 60.0, 15))
    assert values["loss"] == pytest.approx(70 / 40)
    assert values["perplexity"] == pytest.approx(math.exp(70 / 40))
    assert values["token_accuracy"] == pytest.approx(24 / 40)


def test_rows_without_a_measure_have_no_losses_and_those_of_others_stay() -> None:
    plain = scored((SENTENCE, SENTENCE))[0]
    assert not {one.name for one in BY_TOKEN} & plain.parts.keys()
    names = [one.name for one in metrics_of(TextScorer(), [plain])]
    assert names == ["exact_match", "chrf", "bleu"]
    assert "loss" not in likely((4, None, 2))
    assert likely((4, None, 2))["token_accuracy"] == 0.5


def test_a_broken_model_looks_worse_by_every_token_it_gave_no_number_for() -> None:
    values = likely((5, 1.0, 5), (5, math.nan, 0))
    assert values["loss"] == values["perplexity"] == math.inf
    assert values["token_accuracy"] == 0.5


def test_an_answer_that_no_model_gave_has_no_likelihood() -> None:
    row = Answered("r", SENTENCE, SENTENCE, likelihood=Likelihood(3, 1.0, 3))
    assert TextScorer().score(row).parts.keys() >= {"loss"}
    assert "loss" not in TextScorer().score(row.with_answer("constant")).parts
