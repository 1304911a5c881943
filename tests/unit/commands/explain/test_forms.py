"""Every kind of question is asked as options, JSON, CSV and JSON lines, and answers in table and JSON alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.commands.explain.registry import KINDS
from tests.unit.commands.explain.asking import NOBODY, ask, ask_json, refusal_of, table_of
from tests.unit.commands.support import run

CASES: dict[str, dict[str, str]] = {
    "settlement-date": {
        "market": "US",
        "instrument_type": "EQUITY",
        "currency": "USD",
        "trade_date": "2026-10-09",
    },
    "charges": {
        "market": "GB",
        "instrument_type": "EQUITY",
        "currency": "GBP",
        "trade_date": "2026-03-02",
        "side": "BUY",
        "quantity": "1000",
        "price": "12.345",
    },
    "accrued": {
        "isin": "GB0032452392",
        "settlement_date": "2026-03-03",
        "quantity": "100000",
        "currency": "GBP",
    },
    "allocation": {"quantity": "1000", "share": "FUND-A=1;FUND-B=1;FUND-C=1", "amount": "100.00", "currency": "EUR"},
    "match": {
        "profile": "DEFAULT",
        "ours_quantity": "1000",
        "ours_price": "100",
        "ours_net_amount": "100000.00",
        "ours_settlement_date": "2026-03-04",
        "ours_currency": "EUR",
        "ours_trade_date": "2026-03-02",
        "theirs_quantity": "1000",
        "theirs_price": "100.00005",
        "theirs_net_amount": "100002.01",
        "theirs_settlement_date": "2026-03-04",
    },
    "identifier": {"value": "US0378331006"},
}
RESULTS: dict[str, dict[str, Any]] = {
    "settlement-date": {"settlement_date": "2026-10-13", "weekday": "Tuesday"},
    "charges": {
        "charges": {"GB_PTM_LEVY": "1.50 GBP", "GB_SDRT": "61.73 GBP"},
        "total": "63.23 GBP",
        "gross_amount": "12345.00 GBP",
        "settlement_date": "2026-03-04",
    },
    "accrued": {
        "reason": "BOND_TERMS_MISSING",
        "found": "isin GB0032452392, on 2026-03-03",
        "desk_action": "Add the bond's terms; those of a bond without interest have coupon rate 0.",
    },
    "allocation": {
        "quantity": {"FUND-A": "334", "FUND-B": "333", "FUND-C": "333"},
        "amount": {"FUND-A": "33.40", "FUND-B": "33.30", "FUND-C": "33.30"},
    },
    "match": {"matches": False, "profile": "DEFAULT", "differ": "net_amount"},
    "identifier": {"scheme": "ISIN", "value": "US0378331006", "valid": False, "expected": "US0378331005"},
}
NAMES = sorted(CASES)


def test_every_kind_is_asked_here() -> None:
    """A kind without a case would be a command that nobody ever ran."""
    assert {kind.name for kind in KINDS} == set(CASES) == set(RESULTS)


@pytest.mark.parametrize("kind", NAMES)
def test_options_and_standard_input_give_the_same_answer(kind: str) -> None:
    by_options = ask(kind, **CASES[kind])
    assert by_options["result"] == RESULTS[kind]
    assert ask_json(kind, CASES[kind]) == by_options


@pytest.mark.parametrize("kind", NAMES)
def test_the_table_holds_what_the_json_holds(kind: str) -> None:
    """Every step, and of each row its key, its first day and its source."""
    answer, text = ask(kind, **CASES[kind]), table_of(kind, **CASES[kind])
    assert answer["rule"] in text
    for step in answer["steps"]:
        assert step["says"] in text
    for row in answer["rows"]:
        (line,) = [line for line in text.splitlines() if row["key"] in line]
        assert row["source"] in line
        assert row["valid_from"] in line


@pytest.mark.parametrize("kind", NAMES)
def test_a_csv_file_gives_one_answer_a_line(kind: str, tmp_path: Path) -> None:
    """With the line of the file, so that a clerk finds the case again; a comment is no case."""
    case = CASES[kind]
    path = tmp_path / "cases.csv"
    path.write_text(f"# cases\n{','.join(case)}\n{','.join(case.values())}\n\n{','.join(case.values())}\n")
    result = run(["explain", kind, "--json", "--cases", str(path)], NOBODY)
    assert result.exit_code == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(answer["line"], answer["result"]) for answer in answers] == [(3, RESULTS[kind]), (5, RESULTS[kind])]


@pytest.mark.parametrize("kind", NAMES)
def test_an_error_in_one_case_does_not_stop_the_others(kind: str, tmp_path: Path) -> None:
    """The exit code says that there was one; its line says which and why."""
    good = json.dumps(CASES[kind])
    path = tmp_path / "cases.jsonl"
    path.write_text(f'{good}\n{{"nonsense": 1}}\nno json\n[1]\n{good}\n')
    result = run(["explain", kind, "--json", "--cases", str(path)], NOBODY)
    assert result.exit_code == 1
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.get("result") for answer in answers] == [RESULTS[kind], None, None, None, RESULTS[kind]]
    assert f"nonsense is no field of {kind}" in answers[1]["error"]
    assert "this is no JSON" in answers[2]["error"]
    assert "expected one object" in answers[3]["error"]
    shown = run(["explain", kind, "--cases", str(path)], NOBODY)
    assert (shown.exit_code, len(shown.stdout.splitlines())) == (1, 6)


def test_many_cases_may_come_on_standard_input() -> None:
    given = json.dumps(CASES["identifier"])
    result = run("explain identifier --json --cases -", NOBODY, given=f"{given}\n{given}\n")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)


@pytest.mark.parametrize("kind", NAMES)
def test_no_case_at_all_is_told_what_to_do(kind: str) -> None:
    line = refusal_of(kind)
    assert line.startswith("no case was given: give it as options (for example --")
    assert line.endswith(f"See: posttrade explain {kind} --help")


WRONG: list[tuple[str, list[str], str]] = [
    ("settlement-date", ["--trade-date", "2026-02-30"], "trade_date was '2026-02-30', expected a date that exists"),
    ("settlement-date", ["--market", "US"], "trade_date is missing"),
    ("settlement-date", ["--trade-date", "2026-03-02"], "market and instrument_type and currency is missing; give it"),
    ("settlement-date", ["--trade-date", "2026-03-02", "--market", "USA"], "market was 'USA', expected a market"),
    ("charges", ["--side", "UP"], "side was 'UP', expected one of BUY, SELL, SELL_SHORT"),
    ("charges", ["--quantity", "1e3"], "quantity was '1e3', expected a plain decimal number"),
    ("charges", ["--price", "0"], "price was '0', expected a plain decimal number above 0"),
    ("allocation", ["--quantity", "10"], "no share was given: give share ACCOUNT=WEIGHT"),
    ("allocation", ["--quantity", "10", "--share", "A"], "expected shares as ACCOUNT=WEIGHT"),
    ("allocation", ["--quantity", "10", "--share", "A=1", "--share", "A=2"], "an account has two shares"),
    ("allocation", ["--quantity", "10", "--share", "A=0"], "all weights are 0"),
    ("allocation", ["--quantity", "10", "--share", "A=-1"], "expected a weight of 0 or more"),
    ("allocation", ["--quantity", "10", "--share", "A=1", "--account", "B"], "share and account exclude each other"),
    ("allocation", ["--quantity", "10", "--account", "B"], "trade_date is missing; reference data for account"),
    ("allocation", ["--quantity", "10", "--share", "A=1", "--amount", "1"], "currency is missing"),
    ("allocation", ["--quantity", "10", "--share", "A=1", "--amount", "0.5", "--currency", "JPY"], "finer than the"),
    ("identifier", ["--value", "X", "--scheme", "WKN"], "scheme was 'WKN', expected one of ISIN, SEDOL"),
    ("identifier", ["--value", "1"], "the value '1' has the form of no scheme; say which is meant with scheme"),
    ("identifier", ["--cases", "x.csv", "--value", "1"], "--cases and --value exclude each other"),
    ("identifier", ["--cases", "/does/not/exist.csv"], "/does/not/exist.csv could not be read"),
    ("identifier", ["--value", "1", "--reference", "/does/not/exist"], "/does/not/exist"),
    ("identifier", ["--value", "1", "--reference", "/x", "--cluster"], "--cluster and --reference exclude each other"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "words", "says"), WRONG)
def test_a_wrong_case_is_one_line_that_says_what_to_do(kind: str, words: list[str], says: str) -> None:
    assert says in refusal_of(kind, *words)


def test_every_fault_of_a_case_is_named_at_once() -> None:
    """Who mends one fault after the other asks the command as often."""
    line = refusal_of("charges", given='{"sid": "BUY", "quantity": "x", "trade_date": "2026-03-02", "price": true}')
    for says in ("Did you mean side?", "side is missing", "quantity was 'x'", "price was 'true'"):
        assert says in line


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("value,value\nA,B\n")
    assert "the header names a column twice" in refusal_of("identifier", "--cases", str(path))


def test_a_line_of_another_length_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text('value,scheme\nUS0378331005\nUS0378331005,ISIN\n"open,ISIN\n')
    result = run(["explain", "identifier", "--json", "--cases", str(path)], NOBODY)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert "the line has 1 cells, expected 2" in answers[0]["error"]
    assert answers[1]["result"]["valid"] is True
    assert "close every quote" in answers[2]["error"]


def test_numbers_in_json_keep_every_digit() -> None:
    """A price that went through a binary fraction would be another price."""
    case = '{"quantity": 3, "share": {"A": 0.1, "B": 0.2}, "denomination": 1, "amount": 0.30, "currency": "EUR"}'
    result = run("explain allocation --json", NOBODY, given=case)
    answer = json.loads(result.stdout)["result"]
    assert answer == {"quantity": {"A": "1", "B": "2"}, "amount": {"A": "0.10", "B": "0.20"}}


def test_the_kinds_are_in_the_help_with_their_fields() -> None:
    """What can be asked is found without reading the code."""
    for kind in KINDS:
        shown = " ".join(run(f"explain {kind.name} --help").stdout.split())
        assert "For example: posttrade explain" in shown
        for field in kind.fields:
            assert f"--{field.name.replace('_', '-')} " in shown
