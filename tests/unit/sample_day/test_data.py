"""The checked-in files are what the generator makes, can be sent, and name nothing that fails its check digit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses
from stdnum import bic, cusip, isin, lei
from stdnum.gb import sedol

from deploy.sample_day import catalogue
from deploy.sample_day.catalogue import BONDS, Security
from deploy.sample_day.day import SEED, TRADES, flows, generate
from deploy.sample_day.files import records
from deploy.sample_day.generate import DATA, README, all_files, with_tables
from deploy.sample_day.promises import expected as promised
from deploy.sample_day.troubles import TROUBLES
from services.adapters.reference_files import load_directory
from services.commands import send_files
from services.domain.accrued_interest import accrued_amount, accrued_per_unit
from services.domain.event import Execution
from services.domain.reference import Instrument, Party
from tests.unit.domain.bonds import ql_bond, ql_date
from tests.unit.reference_files.shipped import shipped_reference
from tests.unit.sample_day import playing

_FILES_BYTES_MAX = 1_000_000


def test_the_files_are_what_the_seed_makes() -> None:
    """Byte for byte: what cannot be made again cannot be changed either."""
    day = generate(SEED, TRADES)
    made = all_files(day, promised(day, seed=SEED))
    found = {path.relative_to(DATA).as_posix(): path.read_bytes() for path in DATA.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(made)
    assert [name for name, content in made.items() if found[name] != content] == []


def test_the_readme_tells_what_is_promised() -> None:
    """A table that is a day old sends its reader after trades that are not there."""
    readme = README.read_text(encoding="utf-8")
    assert with_tables(readme, playing.expected()) == readme


def test_the_readme_keeps_its_marks() -> None:
    """Without them the tables would be written nowhere, and nobody would notice."""
    with pytest.raises(ValueError, match="without its marks"):
        with_tables("# Sample day\n", playing.expected())


def test_the_files_stay_small() -> None:
    """The day is part of every clone."""
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < _FILES_BYTES_MAX


@pytest.mark.parametrize("phase", ["", "late"])
def test_the_send_command_reads_the_same_records(phase: str) -> None:
    """What `posttrade` would send is what these tests play."""
    folder = DATA / phase
    by_name = {
        "executions.jsonl": send_files.EXECUTIONS,
        "allocations.jsonl": send_files.ALLOCATIONS,
        "confirmations.jsonl": send_files.CONFIRMATIONS,
    }
    sent = [
        record
        for name, kind in by_name.items()
        if (folder / name).exists()
        for record in send_files.read_events(name, (folder / name).read_bytes(), kind, playing.codec())
    ]
    if (folder / "executions.fix").exists():
        sent += send_files.read_fix((folder / "executions.fix").read_bytes())
    plain = [(one.topic, None if one.key is None else one.key.decode(), one.value) for one in sent]
    assert plain == playing.read_records(folder)


def test_records_for_load_tests_are_those_of_the_files() -> None:
    """A load test sends what the sample sends; only the order among topics differs."""
    made = [tuple(record) for record in records(generate(SEED, TRADES).messages)]
    for topic in {record[0] for record in made}:
        in_files = [record for record in playing.read_records(DATA) if record[0] == topic]
        assert [record for record in made if record[0] == topic] == in_files


def test_each_line_of_fix_is_one_message() -> None:
    """People look at the file with line tools; the splitter must not need the line ends, nor mind them."""
    lines = (DATA / "executions.fix").read_bytes().splitlines()
    assert all(line.startswith(b"8=FIX") for line in lines)
    assert lines == [value for topic, _, value in playing.read_records(DATA) if topic == "front-office.fix"]


def test_identifiers_have_their_check_digits() -> None:
    """By python-stdnum, which the catalogue does not use."""
    rows = [*load_directory(DATA / "reference"), *load_directory(DATA / "late" / "reference")]
    instruments = [row for row in rows if isinstance(row, Instrument)]
    parties = [row for row in rows if isinstance(row, Party)]
    assert len(instruments) > 40
    assert len(parties) == 10
    for instrument in instruments:
        isin.validate(instrument.isin)
        if instrument.sedol:
            sedol.validate(instrument.sedol)
        if instrument.cusip:
            cusip.validate(instrument.cusip)
    for party in parties:
        lei.validate(party.lei)
        bic.validate(party.bic)


def test_what_is_missing_is_missing() -> None:
    """A gap that somebody fills takes its troubles away."""
    rows = [*load_directory(DATA / "reference"), *load_directory(DATA / "late" / "reference")]
    names = {name for row in rows for name in row.lookup_ids()}
    assert f"ISIN:{catalogue.UNKNOWN_SECURITY.instrument.isin}" not in names
    assert catalogue.UNKNOWN_ACCOUNT not in names


def _quantlib_accrued(security: Security, face: Decimal) -> float:
    assert security.coupon is not None
    assert security.terms is not None
    ex_coupon = (ql.Period(6, ql.Days), ql.UnitedKingdom(ql.UnitedKingdom.Settlement), ql.Preceding)
    theirs = ql_bond(security.terms, *ex_coupon) if security.coupon.is_ex_dividend else ql_bond(security.terms)
    per_hundred: float = theirs.accruedAmount(ql_date(security.coupon.settles))
    return per_hundred / 100 * float(face)


@pytest.mark.parametrize("security", BONDS, ids=lambda security: security.instrument.isin)
def test_accrued_interest_agrees_with_quantlib(security: Security) -> None:
    """To the cent, what trading systems report and what the services compute; the oracle works in floats."""
    assert security.coupon is not None
    assert security.terms is not None
    face = Decimal(1_230_000)
    expected = pytest.approx(_quantlib_accrued(security, face), abs=0.0051)
    assert float(security.coupon.accrued(face)) == expected
    reference = shipped_reference(security.terms)
    per_unit = accrued_per_unit(reference, security.terms.isin, security.coupon.settles)
    assert isinstance(per_unit, Fraction)
    assert float(accrued_amount(per_unit, face, currency=security.instrument.currency)) == expected


def test_every_trouble_is_in_the_day() -> None:
    """As often as the list says; an example to follow is in the files."""
    rows = {row["name"]: row for row in playing.expected()["details"]["troubles"]}
    assert {trouble.name: trouble.count for trouble in TROUBLES} == {name: row["count"] for name, row in rows.items()}
    keys = {key for _, key, _ in playing.read_records(DATA)}
    assert [row["name"] for row in rows.values() if row["example"] not in keys] == []


def test_a_bigger_day_has_more_trades_and_as_much_trouble_as_asked() -> None:
    """Load tests ask for size and trouble apart."""
    made = list(flows(7, 1_000, troubles=0))
    executions = [message.event for flow in made for message in flow.messages if isinstance(message.event, Execution)]
    assert len(executions) >= 1_000
    assert {flow.trouble for flow in made} == {None}
    ids = {execution.execution_id for execution in executions}
    assert len(ids) == len(executions)
    assert {execution.currency for execution in executions} == {"USD", "EUR", "GBP", "JPY"}
    twice = sum(flow.trouble is not None for flow in flows(7, 0, troubles=2))
    assert twice == 2 * sum(trouble.count for trouble in TROUBLES)


def test_another_seed_is_another_day() -> None:
    """Else the seed would be for show."""
    assert list(flows(1, 20, troubles=0)) != list(flows(2, 20, troubles=0))
