"""The CSV loader: what it reads, and that it names every fault by file, line, column, value and expectation."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from services.adapters.reference_files import FILE_NAMES, Fault, ReferenceFileError, load_directory, topic_of
from services.domain.code import AllocationPolicy, ChargeType, InstrumentType, Side
from services.domain.money import Rounding
from services.domain.reference import (
    REFERENCE_KINDS,
    Account,
    AllocationTemplate,
    CalendarCoverage,
    ChargeRule,
    Holiday,
    Instrument,
    MatchingProfile,
    Party,
    SettlementCycle,
    StandingSettlementInstruction,
    TemplateShare,
)

INSTRUMENT_HEADER = (
    "isin,sedol,cusip,name,instrument_type,settlement_market,currency,issuer_country,denomination,valid_from,valid_to"
)
SAP = "DE0007164600,,,SAP,EQUITY,DE,EUR,DE,1,,"


def load(directory: Path, **texts: str) -> list[object]:
    """Write files, named with `_` for `-`, and load them."""
    for name, text in texts.items():
        (directory / (name.replace("_", "-") + ".csv")).write_text(text, encoding="utf-8")
    return list(load_directory(directory))


def faults(directory: Path, **texts: str) -> tuple[Fault, ...]:
    with pytest.raises(ReferenceFileError) as caught:
        load(directory, **texts)
    return caught.value.faults


# --- what can be read ------------------------------------------------------------------------------------------------


ONE_OF_EACH = {
    "instruments": (
        "name,isin,sedol,cusip,instrument_type,settlement_market,currency,issuer_country,denomination,source\n"
        'Apple,US0378331005,2046251,037833100,EQUITY,US,USD,US,1,"sample, with comma"\n'
    ),
    "parties": "bic,lei,name,matching_profile\nDEUTDEFFXXX,7LTWFZYICNSX8D621K86,Bank,\n",
    "accounts": "account,name,allocation_policy\nFUND-A,Fund A,SINGLE\n",
    "allocation_templates": "account,shares\nBLOCK,FUND-A=0.6;FUND-B=0.4\n",
    "standing_settlement_instructions": (
        "owner,settlement_market,depository_bic,participant_bic,safekeeping_account,instrument_type,currency\n"
        "FUND-A,DE,DAKVDEFFXXX,PARBDEFF,SAFE-1,,EUR\n"
    ),
    "settlement_cycles": "settlement_market,days,valid_from\nDE,2,2014-10-06\n",
    "holidays": "calendar,day,name\nCURRENCY:EUR,2026-05-01,Labour Day\n",
    "calendar_coverages": "calendar,first_day,last_day\nCURRENCY:EUR,2026-01-01,2026-12-31\n",
    "charge_rules": (
        "settlement_market,charge_id,charge_type,instrument_types,currency,rate_of_gross,side,rounding,rounding_unit\n"
        "HK,HK_STAMP_DUTY,STAMP,EQUITY;ETF,HKD,0.001,,UP,1\n"
    ),
    "matching_profiles": "profile,currency,price_tolerance,amount_tolerance\nDEFAULT,,0.0001,0.01\n",
}

RECORD_OF_EACH = [
    Instrument(
        isin="US0378331005",
        sedol="2046251",
        cusip="037833100",
        name="Apple",
        instrument_type=InstrumentType.EQUITY,
        settlement_market="US",
        currency="USD",
        issuer_country="US",
        denomination=Decimal(1),
        source="sample, with comma",
    ),
    Party(bic="DEUTDEFFXXX", lei="7LTWFZYICNSX8D621K86", name="Bank", matching_profile="DEFAULT"),
    Account(account="FUND-A", name="Fund A", allocation_policy=AllocationPolicy.SINGLE),
    AllocationTemplate(
        account="BLOCK",
        shares=(
            TemplateShare(account="FUND-A", weight=Decimal("0.6")),
            TemplateShare(account="FUND-B", weight=Decimal("0.4")),
        ),
    ),
    StandingSettlementInstruction(
        owner="FUND-A",
        settlement_market="DE",
        currency="EUR",
        depository_bic="DAKVDEFFXXX",
        participant_bic="PARBDEFF",
        safekeeping_account="SAFE-1",
    ),
    SettlementCycle(settlement_market="DE", days=2, valid_from=date(2014, 10, 6)),
    Holiday(calendar="CURRENCY:EUR", day=date(2026, 5, 1), name="Labour Day"),
    CalendarCoverage(calendar="CURRENCY:EUR", first_day=date(2026, 1, 1), last_day=date(2026, 12, 31)),
    ChargeRule(
        settlement_market="HK",
        charge_id="HK_STAMP_DUTY",
        charge_type=ChargeType.STAMP,
        instrument_types=(InstrumentType.EQUITY, InstrumentType.ETF),
        currency="HKD",
        rate_of_gross=Decimal("0.001"),
        rounding=Rounding.UP,
        rounding_unit=Decimal(1),
    ),
    MatchingProfile(
        profile="DEFAULT", currency=None, price_tolerance=Decimal("0.0001"), amount_tolerance=Decimal("0.01")
    ),
]


def test_every_kind_is_read_into_its_record(tmp_path: Path) -> None:
    """One row of each kind, columns in an order of their own, optional columns left out or empty."""
    assert load(tmp_path, **ONE_OF_EACH) == RECORD_OF_EACH


def test_every_kind_has_a_file_and_a_topic() -> None:
    """A kind without a file could never be loaded; the order is that of REFERENCE_KINDS."""
    assert tuple(FILE_NAMES) == REFERENCE_KINDS
    assert topic_of(SettlementCycle) == "reference.settlement-cycles"
    assert topic_of(Party) == "reference.parties"
    assert len({topic_of(kind) for kind in REFERENCE_KINDS}) == len(REFERENCE_KINDS)


def test_comments_empty_lines_byte_order_mark_and_windows_line_ends_are_no_data(tmp_path: Path) -> None:
    """What spreadsheets leave behind does not disturb, and lines keep their numbers."""
    text = "\ufeff# accounts\r\naccount,name,allocation_policy\r\n\r\n# one\r\n FUND-A , Fund A,SINGLE\r\n"
    assert load(tmp_path, accounts=text) == [
        Account(account="FUND-A", name="Fund A", allocation_policy=AllocationPolicy.SINGLE)
    ]
    (found,) = faults(tmp_path, accounts=text + "FUND-B,Fund B,SPLIT\r\n")
    assert found.line == 6


def test_other_files_are_left_alone_and_an_empty_directory_is_no_fault(tmp_path: Path) -> None:
    assert load(tmp_path) == []
    (tmp_path / "README.md").write_text("text")
    assert load(tmp_path) == []


# --- what cannot -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("isin", "DE0007164601", "an ISIN with its check digit (ISO 6166)"),
        ("isin", "de0007164600", "an ISIN with its check digit (ISO 6166)"),
        ("isin", "", "a value"),
        ("sedol", "2046252", "a SEDOL with its check digit"),
        ("cusip", "037833101", "a CUSIP with its check digit"),
        ("instrument_type", "SHARE", "one of EQUITY, ETF, GOVERNMENT_BOND, CORPORATE_BOND"),
        ("settlement_market", "DEU", "a market of two capitals, for example DE"),
        ("currency", "eur", "an ISO 4217 currency code of three capitals"),
        ("issuer_country", "GER", "an ISO 3166 country code of two capitals"),
        ("name", "A|B", "text without control characters and without |"),
        ("denomination", "0", "a plain decimal number above 0 with at most 20 digits before and 8 after the point"),
        ("denomination", "-1", "a plain decimal number above 0 with at most 20 digits before and 8 after the point"),
        ("denomination", "1e3", "a plain decimal number above 0 with at most 20 digits before and 8 after the point"),
        ("denomination", "NaN", "a plain decimal number above 0 with at most 20 digits before and 8 after the point"),
        (
            "denomination",
            "0.123456789",
            "a plain decimal number above 0 with at most 20 digits before and 8 after the point",
        ),
        ("valid_from", "2026-02-30", "a date that exists, as YYYY-MM-DD"),
        ("valid_from", "20260201", "a date as YYYY-MM-DD"),
        ("valid_to", "1899-12-31", "1900-01-01 (valid_from) or later"),
    ],
)
def test_fault_in_a_cell_is_named_completely(tmp_path: Path, column: str, value: str, expected: str) -> None:
    """Whoever mends the file needs file, line, column, what is there and what should be."""
    cells = dict(zip(INSTRUMENT_HEADER.split(","), SAP.split(","), strict=True)) | {column: value}
    text = "\n".join([INSTRUMENT_HEADER, ",".join(cells.values())])
    assert faults(tmp_path, instruments=text) == (Fault("instruments.csv", 2, column, value, expected),)


BIC_EXPECTED = "a BIC of 8 or 11 characters (ISO 9362)"


@pytest.mark.parametrize(
    ("name", "header", "row", "column", "expected"),
    [
        ("parties", "bic,lei,name", "DEUTDEF,7LTWFZYICNSX8D621K86,B", "bic", BIC_EXPECTED),
        ("parties", "bic,lei,name", "DEUT1EFF,7LTWFZYICNSX8D621K86,B", "bic", BIC_EXPECTED),
        (
            "parties",
            "bic,lei,name",
            "DEUTDEFF,7LTWFZYICNSX8D621K87,B",
            "lei",
            "an LEI with its check digits (ISO 17442)",
        ),
        ("settlement-cycles", "settlement_market,days", "DE,-1", "days", "a whole number, 0 or more"),
        (
            "holidays",
            "calendar,day,name",
            "EUR,2026-05-01,x",
            "calendar",
            "SETTLEMENT:<market>, TRADING:<MIC> or CURRENCY:<ISO 4217>",
        ),
        (
            "calendar-coverages",
            "calendar,first_day,last_day",
            "CURRENCY:EUR,2026-12-31,2026-01-01",
            "last_day",
            "2026-12-31 (first_day) or later",
        ),
        ("allocation-templates", "account,shares", "A,B=1;C", "shares", "shares as ACCOUNT=weight;ACCOUNT=weight"),
        ("allocation-templates", "account,shares", "A,B=1;B=2", "shares", "each account once"),
        (
            "allocation-templates",
            "account,shares",
            "A,B=0",
            "shares",
            "a plain decimal number above 0 with at most 8 digits before and 12 after the point",
        ),
        (
            "charge-rules",
            "settlement_market,charge_id,charge_type,instrument_types,currency,effective_by",
            "US,X,TAX,EQUITY,USD,TODAY",
            "effective_by",
            "one of TRADE_DATE, SETTLEMENT_DATE",
        ),
        (
            "charge-rules",
            "settlement_market,charge_id,charge_type,instrument_types,currency,side",
            "US,X,TAX,EQUITY,USD,SELL_SHORT",
            "side",
            "BUY, SELL or nothing; a short sale pays what a sale pays",
        ),
        (
            "charge-rules",
            "settlement_market,charge_id,charge_type,instrument_types,currency",
            "US,COMMISSION,TAX,EQUITY,USD",
            "charge_id",
            "a charge; a commission is what the execution says",
        ),
        (
            "bond-terms",
            "isin,coupon_rate,coupons_a_year,day_count,accrual_start,maturity_date",
            "GB00BPJJKN53,0.04,5,ACT_365_FIXED,2020-01-31,2030-01-31",
            "coupons_a_year",
            "one of 0, 1, 2, 3, 4, 6, 12",
        ),
        (
            "bond-terms",
            "isin,coupon_rate,day_count,accrual_start,maturity_date,pays_at_month_end",
            "GB00BPJJKN53,0.04,ACT_365_FIXED,2020-01-31,2030-01-31,yes",
            "pays_at_month_end",
            "true or false",
        ),
        (
            "bond-terms",
            "isin,coupon_rate,day_count,accrual_start,maturity_date,ex_dividend_days,ex_dividend_calendar",
            "GB00BPJJKN53,0.04,ACT_365_FIXED,2020-01-31,2030-01-31,7,GB",
            "ex_dividend_calendar",
            "SETTLEMENT:<market>, TRADING:<MIC> or CURRENCY:<ISO 4217>",
        ),
        (
            "charge-exemptions",
            "charge_id,isin",
            "GB_SDRT,GB00BPJJKN54",
            "isin",
            "an ISIN with its check digit (ISO 6166)",
        ),
        (
            "matching-profiles",
            "profile,price_tolerance,amount_tolerance,amount_threshold",
            "P,0,0,100",
            "amount_tolerance_large",
            "a value together with amount_threshold, or neither",
        ),
        ("matching-profiles", "profile,field", "P,PRICE", "code", "a value: field and code come together"),
        ("matching-profiles", "profile,code", "P,EXCT", "field", "a value: field and code come together"),
        ("matching-profiles", "profile,percent", "P,2", "percent", "nothing in a row without field and code"),
        ("matching-profiles", "profile,field,code", "P,PRICE,PTOL", "percent", "a value for PTOL"),
        ("matching-profiles", "profile,field,code,percent", "P,PRICE,PTMX,2", "maximum", "a value for PTMX"),
        ("matching-profiles", "profile,field,code,below", "P,PRICE,MNMX,2", "above", "a value for MNMX"),
        ("matching-profiles", "profile,field,code,percent", "P,PRICE,NUFM,2", "percent", "nothing for NUFM"),
        ("matching-profiles", "profile,field,code", "P,QUANTITY,NUFM", "code", "one of EXCT for QUANTITY"),
        (
            "matching-profiles",
            "profile,field,code",
            "P,COMMISSION,CPOP",
            "code",
            "one of EXCT, MNMX, NUFM, PTMX, PTOL for COMMISSION",
        ),
        (
            "matching-profiles",
            "profile,field,code,amount_tolerance",
            "P,PRICE,EXCT,2",
            "field",
            "nothing in a row of the older form, with price_tolerance and amount_tolerance",
        ),
        (
            "affirmation-deadlines",
            "settlement_market,step,local_time,time_zone,warning_minutes",
            "US,AFFIRM,02:59,America/New_York,60",
            "local_time",
            "03:00 or later: before, the day's clock may still be changed",
        ),
        (
            "affirmation-deadlines",
            "settlement_market,step,local_time,time_zone,warning_minutes",
            "US,AFFIRM,9pm,America/New_York,60",
            "local_time",
            "a time of day as HH:MM",
        ),
        (
            "time-zone-offsets",
            "time_zone,offset_minutes",
            "America/New_York,-5h",
            "offset_minutes",
            "whole minutes ahead of UTC, negative behind it",
        ),
    ],
)
def test_fault_in_other_kinds(tmp_path: Path, name: str, header: str, row: str, column: str, expected: str) -> None:
    (tmp_path / f"{name}.csv").write_text(f"{header}\n{row}\n")
    (found,) = faults(tmp_path)
    assert (found.file, found.line, found.column, found.expected) == (f"{name}.csv", 2, column, expected)


def test_all_faults_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    """Mending one fault per run would take a morning; and nothing may be loaded in part."""
    found = faults(
        tmp_path,
        accounts="account,name,allocation_policy\n,Fund,SINGLE\nB,Fund,SPLIT\nC\nD,Fund,SINGLE\n",
        parties="bic,lei\nDEUTDEFF,7LTWFZYICNSX8D621K86\n",
        trades="a\n1\n",
    )
    places = [(fault.file, fault.line, fault.column) for fault in found]
    assert places == [
        ("trades.csv", 0, ""),
        ("parties.csv", 1, "name"),
        ("accounts.csv", 2, "account"),
        ("accounts.csv", 3, "allocation_policy"),
        ("accounts.csv", 4, ""),
    ]


def test_message_lists_each_fault_on_a_line(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError) as caught:
        load(tmp_path, settlement_cycles="settlement_market,days\nDE,two\n")
    assert str(caught.value) == (
        "1 fault(s) in reference data files:\n"
        "settlement-cycles.csv:2: column days was 'two', expected a whole number, 0 or more"
    )


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("account,name,allocation_policy,colour\nA,B,SINGLE,red\n", "colour", "colour"),
        ("account,name,allocation_policy,name\nA,B,SINGLE,C\n", "name", "name"),
        ("account,name\nA,B\n", "allocation_policy", "no column"),
        ("account,name,allocation_policy\nA,B\n", "", "2 cells"),
        ("account,name,allocation_policy\nA,B,SINGLE,\n", "", "4 cells"),
        ('account,name,allocation_policy\nA,"B,SINGLE\n', "", 'A,"B,SINGLE'),
    ],
)
def test_fault_of_shape(tmp_path: Path, text: str, column: str, value: str) -> None:
    """Unknown, repeated or missing columns, rows of another length, open quotes."""
    (found,) = faults(tmp_path, accounts=text)
    assert (found.column, found.value) == (column, value)


def test_empty_file_lacks_its_columns(tmp_path: Path) -> None:
    """A file that was cut to nothing must not pass for one without rows."""
    assert [fault.column for fault in faults(tmp_path, accounts="")] == ["account", "name", "allocation_policy"]


def test_file_that_is_not_utf8_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_bytes(b"account,name,allocation_policy\nA,Z\xfcrich,SINGLE\n")
    (found,) = faults(tmp_path)
    assert (found.file, found.expected) == ("accounts.csv", "UTF-8 text")


def test_directory_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError, match="a directory of CSV files"):
        load_directory(tmp_path / "nowhere")


# --- overlapping rows ------------------------------------------------------------------------------------------------

CYCLES = "settlement_market,instrument_type,days,valid_from,valid_to\n"


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (["DE,,2,2014-10-06,2027-10-10", "DE,,1,2027-10-11,"], []),
        (["DE,,1,2027-10-11,", "DE,,2,2014-10-06,2027-10-10"], []),
        (["DE,,2,2014-10-06,2027-10-11", "DE,,1,2027-10-11,"], [3]),
        (["DE,,2,2014-10-06,", "DE,,1,2027-10-11,"], [3]),
        (["DE,,2,2014-10-06,", "DE,,2,2014-10-06,"], [3]),
        (["DE,,2,2014-10-06,", "DE,EQUITY,1,2014-10-06,", "FR,,1,2014-10-06,"], []),
        (["DE,,2,2014-01-01,2014-12-31", "DE,,2,2014-02-01,2014-02-02", "DE,,2,2014-03-01,2014-03-02"], [3, 4]),
    ],
)
def test_rows_of_one_key_must_not_overlap(tmp_path: Path, rows: list[str], lines: list[int]) -> None:
    """Which of two rows holds would be an accident; the last row shows that not only neighbours are compared."""
    text = CYCLES + "\n".join(rows)
    if not lines:
        assert len(load(tmp_path, settlement_cycles=text)) == len(rows)
        return
    assert [fault.line for fault in faults(tmp_path, settlement_cycles=text)] == lines


def test_two_instruments_must_not_share_a_name(tmp_path: Path) -> None:
    """One SEDOL for two ISINs would book the wrong instrument."""
    apple = "US0378331005,2046251,,Apple,EQUITY,US,USD,US,1,,"
    other = "US5949181045,2046251,,Other,EQUITY,US,USD,US,1,,"
    (found,) = faults(tmp_path, instruments=f"{INSTRUMENT_HEADER}\n{apple}\n{other}")
    assert (found.line, found.expected) == (3, "a day after valid_to of line 2, which has the same SEDOL:2046251")


def test_charge_side_is_read(tmp_path: Path) -> None:
    """An empty side means both; BUY means the buyer only."""
    header = "settlement_market,charge_id,charge_type,instrument_types,currency,side\n"
    rows = "GB,A,STAMP,EQUITY,GBP,BUY\nGB,B,LEVY,EQUITY,GBP,\n"
    found = load(tmp_path, charge_rules=header + rows)
    assert [rule.side for rule in found if isinstance(rule, ChargeRule)] == [Side.BUY, None]
