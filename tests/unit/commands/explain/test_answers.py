"""What the answers say: the rule, the days left out, the rows of their dates, and where the reference data is from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.adapters.reference_files import SHIPPED_DIRECTORY
from services.domain.reason import Reason
from tests.unit.commands.explain.asking import NOBODY, ask, ask_json
from tests.unit.commands.support import MemoryCluster, run

SHARE = {"market": "US", "instrument_type": "EQUITY", "currency": "USD"}
GILT = {"market": "GB", "instrument_type": "GOVERNMENT_BOND", "currency": "GBP"}


def keys(answer: dict[str, Any], kind: str) -> list[str]:
    """Keys of the rows of a kind that led to the answer."""
    return [row["key"] for row in answer["rows"] if row["kind"] == kind]


# --- settlement-date -------------------------------------------------------------------------------------------------


def test_the_days_left_out_are_told_with_their_holiday() -> None:
    answer = ask("settlement-date", **SHARE, trade_date="2026-10-09")
    assert [step["says"] for step in answer["steps"]] == [
        "weekend",
        "weekend",
        "closed: SETTLEMENT:US, Columbus Day",
        "settlement day 1",
    ]
    assert keys(answer, "settlement-cycles") == ["US|*|2024-05-28"]
    assert keys(answer, "holidays") == ["SETTLEMENT:US|2026-10-12|1900-01-01"]
    assert answer["rows"][0]["source"] == "SEC release 34-96930 (Rule 15c6-1)"


@pytest.mark.parametrize(
    ("case", "rule", "date"),
    [
        ({}, "MARKET_CYCLE", "2026-03-31"),
        ({"settlement_type": "9"}, "SPECIAL_CYCLE", "2026-04-08"),
        ({"settlement_type": "7", "issue_date": "2026-04-03"}, "WHEN_ISSUED", "2026-04-07"),
        ({"settlement_type": "7", "requested_settlement_date": "2026-04-09"}, "AGREED_DATE", "2026-04-09"),
    ],
)
def test_the_rule_that_named_the_date_is_told(case: dict[str, str], rule: str, date: str) -> None:
    answer = ask("settlement-date", **GILT, trade_date="2026-03-30", **case)
    assert answer["result"]["settlement_date"] == date
    assert answer["rule"].startswith(f"{rule}: ")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"requested_settlement_date": "2026-04-03"}, Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY),
        ({"settlement_type": "6"}, Reason.SETTLEMENT_TYPE_UNSUITABLE),
        ({"settlement_type": "7"}, Reason.ISSUE_DATE_MISSING),
        ({"requested_settlement_date": "2026-03-02"}, Reason.SETTLEMENT_DATE_BEFORE_TRADE_DATE),
        ({"market": "BR"}, Reason.SETTLEMENT_CYCLE_MISSING),
        ({"market": "IN"}, Reason.CALENDAR_MISSING),
        ({"security_id": "US0378331005"}, Reason.INSTRUMENT_MISSING),
    ],
)
def test_a_reason_is_an_answer_with_what_the_desk_does(case: dict[str, str], reason: Reason) -> None:
    """That a trade has no date is what the rule says of it, and no failure of the command."""
    answer = ask("settlement-date", **(GILT | {"trade_date": "2026-03-30"} | case))
    assert answer["result"]["reason"] == reason
    assert answer["result"]["desk_action"] == reason.desk_action
    assert answer["rule"] == reason.meaning


def test_an_agreed_date_that_does_not_settle_names_its_holiday() -> None:
    answer = ask("settlement-date", **SHARE, trade_date="2026-03-02", requested_settlement_date="2026-10-12")
    assert answer["steps"] == [{"what": "2026-10-12 Mon", "says": "closed: SETTLEMENT:US, Columbus Day"}]


# --- charges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traded", "settles", "row", "charged"),
    [
        ("2026-04-01", "2026-04-02", "US|US_SEC_SECTION_31|2025-05-14", False),
        ("2026-04-02", "2026-04-06", "US|US_SEC_SECTION_31|2026-04-04", True),
    ],
)
def test_a_rate_is_keyed_by_the_settlement_date(traded: str, settles: str, row: str, charged: bool) -> None:
    """The rate of 2026-04-04 holds for trades of Thursday 2 April, which settle on Monday."""
    answer = ask("charges", **SHARE, trade_date=traded, side="SELL", quantity="1000", price="250")
    assert answer["result"]["settlement_date"] == settles
    assert row in keys(answer, "charge-rules")
    assert ("US_SEC_SECTION_31" in answer["result"]["charges"]) is charged


def test_a_charge_that_is_not_due_says_whom_it_is_for() -> None:
    answer = ask("charges", **SHARE, trade_date="2026-03-02", side="BUY", quantity="10", price="250")
    says = {step["what"]: step["says"] for step in answer["steps"]}
    assert says["US_FINRA_TAF"].endswith("the row is for SELL side; EQUITY, ETF; in USD")
    assert answer["result"]["charges"] == {}


def test_a_trade_without_a_date_has_no_charges_but_a_reason() -> None:
    case = SHARE | {"trade_date": "2026-03-02", "side": "BUY", "quantity": "10", "price": "250", "settlement_type": "6"}
    assert ask("charges", **case)["result"]["reason"] == "SETTLEMENT_TYPE_UNSUITABLE"


# --- allocation ------------------------------------------------------------------------------------------------------


def test_the_account_with_the_largest_remainder_is_named_with_it() -> None:
    case = {"quantity": "100", "share": {"A": "50", "B": "30", "C": "20.5"}, "denomination": "10"}
    answer = ask_json("allocation", case)
    assert answer["result"]["quantity"] == {"A": "50", "B": "30", "C": "20"}
    assert answer["steps"][3:] == [
        {"what": "B", "says": "one denomination (10) more: remainder 66/67, the largest"},
        {"what": "A", "says": "one denomination (10) more: remainder 196/201, number 2 by size"},
    ]


def test_what_is_no_whole_denomination_goes_to_the_largest_share() -> None:
    answer = ask("allocation", quantity="1003.5", share="A=1;B=2", denomination="1")
    assert answer["result"]["quantity"] == {"A": "334", "B": "669.5"}
    assert "0.5 more" in answer["steps"][-1]["says"]


REFERENCE = {
    "accounts.csv": "account,name,allocation_policy\nBK-1,Block,TEMPLATE\n",
    "allocation-templates.csv": "account,shares,source\nBK-1,F-1=0.5;F-2=0.5,mandate of 2026\n",
    "instruments.csv": (
        "isin,name,instrument_type,settlement_market,currency,issuer_country,denomination,issue_date,source\n"
        "GB00BPJJKN53,Gilt,GOVERNMENT_BOND,GB,GBP,GB,0.01,2026-04-03,sample\n"
        "US037833BX70,Apple 4.65%,CORPORATE_BOND,US,USD,US,1000,,sample\n"
    ),
    "settlement-cycles.csv": "settlement_market,days,valid_from,source\nBR,2,2020-01-01,own\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Reference data of an operator."""
    for name, text in REFERENCE.items():
        (tmp_path / name).write_text(text)
    return str(tmp_path)


def test_a_folder_is_laid_over_the_shipped_data(folder: str) -> None:
    """Template, denomination and issue date are the operator's, calendars are shipped."""
    case = {"quantity": "5000", "account": "BK-1", "trade_date": "2026-03-02", "isin": "US037833BX70"}
    answer = ask_json("allocation", case, "--reference", folder)
    assert answer["result"]["quantity"] == {"F-1": "3000", "F-2": "2000"}
    assert [(row["kind"], row["source"]) for row in answer["rows"]] == [
        ("allocation-templates", "mandate of 2026"),
        ("instruments", "sample"),
    ]
    case = {"security_id": "GB00BPJJKN53", "trade_date": "2026-03-30", "settlement_type": "7"}
    answer = ask_json("settlement-date", case, "--reference", folder)
    assert answer["result"]["settlement_date"] == "2026-04-07"
    assert keys(answer, "instruments") == ["GB00BPJJKN53|1900-01-01"]


def test_a_template_that_is_missing_is_the_reason_the_service_gives() -> None:
    answer = ask_json("allocation", {"quantity": "5", "account": "BK-9", "trade_date": "2026-03-02"})
    assert answer["result"]["reason"] == Reason.ALLOCATION_TEMPLATE_MISSING


def test_a_wrong_row_in_the_folder_is_named_and_nothing_is_explained(tmp_path: Path) -> None:
    (tmp_path / "settlement-cycles.csv").write_text("settlement_market,days\nDE,x\n")
    result = run(["explain", "identifier", "--value", "1", "--scheme", "MIC", "--reference", str(tmp_path)], NOBODY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{tmp_path}/settlement-cycles.csv:2: column days was 'x'" in result.stderr


def test_the_cluster_explains_with_what_its_workers_hold(folder: str) -> None:
    """Not with the shipped rows: on a cluster without them there is no cycle."""
    cluster = MemoryCluster()
    case = json.dumps(SHARE | {"trade_date": "2026-10-09"})
    empty = run("explain settlement-date --json --cluster", cluster, given=case)
    assert json.loads(empty.stdout)["result"]["reason"] == "SETTLEMENT_CYCLE_MISSING"
    loaded = run(["reference", "load", str(SHIPPED_DIRECTORY), folder], cluster)
    assert loaded.exit_code == 0, loaded.stderr
    after = run("explain settlement-date --json --cluster", cluster, given=case)
    assert json.loads(after.stdout) == ask("settlement-date", **SHARE, trade_date="2026-10-09")


# --- identifier ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "scheme", "valid", "expected", "says"),
    [
        ("US0378331005", None, True, None, "right: 5"),
        ("US0378331006", None, False, "US0378331005", "wrong at 12: was 6, expected 5"),
        ("us0378331005", "ISIN", False, None, "has small letters or blanks"),
        ("US037833100", "ISIN", False, None, "has 11 characters"),
        ("0263494", "SEDOL", True, None, "right: 4"),
        ("0263495", None, False, "0263494", "wrong at 7: was 5, expected 4"),
        ("037833100", None, True, None, "right: 0"),
        ("037833101", "CUSIP", False, "037833100", "wrong at 9: was 1, expected 0"),
        ("7LTWFZYICNSX8D621K86", None, True, None, "right: 86"),
        ("7LTWFZYICNSX8D621K68", None, False, "7LTWFZYICNSX8D621K86", "wrong at 19 and 20: was 68, expected 86"),
        ("DEUTDEFF", None, True, None, "right"),
        ("DEUT1EFF", "BIC", False, None, "two capitals for the country"),
        ("XNYS", None, True, None, "right"),
        ("XNY", "MIC", False, None, "has 3 characters"),
    ],
)
def test_an_identifier_is_right_or_says_where_it_is_wrong(
    value: str, scheme: str | None, valid: bool, expected: str | None, says: str
) -> None:
    answer = ask("identifier", value=value, **({} if scheme is None else {"scheme": scheme}))
    assert answer["result"]["valid"] is valid
    assert answer["result"].get("expected") == expected
    assert says in answer["steps"][-1]["says"]


def test_a_name_is_looked_up_on_the_day_that_is_given(folder: str) -> None:
    answer = ask_json("identifier", {"value": "US037833BX70", "on": "2026-03-02"}, "--reference", folder)
    assert keys(answer, "instruments") == ["US037833BX70|1900-01-01"]
