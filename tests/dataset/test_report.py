"""Reports have exact counts and few examples; that of a whole is the merge of its parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.report import MAX_EXAMPLES, Finding, Level, Report
from orchestrator.errors import Place


def finding(
    line: int, code: str = "cut", level: Level = Level.ERROR, kind: str = "form"
) -> Finding:
    return Finding(kind, level, code, Place("rows.jsonl", line), f"line {line}", "Mend it.")


_FINDINGS = st.lists(
    st.builds(
        finding,
        st.integers(1, 10**6),
        st.sampled_from(["cut", "bom", "row-schema"]),
        st.sampled_from(list(Level)),
        st.sampled_from(["form", "leak"]),
    ),
    max_size=40,
)


@given(_FINDINGS, _FINDINGS, _FINDINGS)
def test_the_report_of_a_whole_is_the_merge_of_the_reports_of_its_parts(
    first: list[Finding], second: list[Finding], third: list[Finding]
) -> None:
    whole = Report.of(60, [*first, *second, *third])
    parts = [Report.of(10, first), Report.of(20, second), Report.of(30, third)]
    left = parts[0].merge(parts[1]).merge(parts[2])
    right = parts[0].merge(parts[1].merge(parts[2]))
    assert left == right == whole
    assert left.to_json() == right.to_json() == whole.to_json()


@given(_FINDINGS)
def test_an_empty_report_changes_nothing(findings: list[Finding]) -> None:
    report = Report.of(5, findings)
    assert Report().merge(report) == report.merge(Report()) == report


@given(_FINDINGS)
def test_every_finding_is_counted_and_the_first_few_are_kept(findings: list[Finding]) -> None:
    report = Report.of(len(findings), findings)
    assert sum(group.count for group in report.findings) == len(findings)
    assert report.error_count == sum(f.level is Level.ERROR for f in findings)
    for group in report.findings:
        same = [
            f
            for f in findings
            if (f.kind, f.level, f.code) == (group.kind, group.level, group.code)
        ]
        assert group.count == len(same)
        assert list(group.examples) == same[:MAX_EXAMPLES]


def test_merging_does_not_change_the_parts() -> None:
    first, second = Report.of(1, [finding(1)]), Report.of(1, [finding(1)])
    first.merge(second)
    assert first == second


def test_errors_come_before_warnings_and_frequent_ones_first() -> None:
    findings = [
        *[finding(n, "long", Level.WARNING) for n in range(1, 9)],
        finding(1, "cut"),
        finding(2, "bom"),
        finding(3, "bom"),
    ]
    codes = [group.code for group in Report.of(20, findings).findings]
    assert codes == ["bom", "cut", "long"]


def test_warnings_alone_are_no_errors() -> None:
    assert Report.of(3, [finding(1, level=Level.WARNING)]).error_count == 0


def test_the_json_of_a_report_has_counts_levels_and_places() -> None:
    findings = [finding(line) for line in range(1, 9)]
    assert Report.of(8, findings).to_json() == {
        "rows": 8,
        "findings": [
            {
                "kind": "form",
                "level": "error",
                "code": "cut",
                "count": 8,
                "examples": [
                    {
                        "file": "rows.jsonl",
                        "line": line,
                        "message": f"line {line}",
                        "hint": "Mend it.",
                    }
                    for line in range(1, 6)
                ],
            }
        ],
        "figures": [],
    }
