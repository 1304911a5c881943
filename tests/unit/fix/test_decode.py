"""What a FIX message means: which report is booked, and where each field comes from."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from services.adapters.fix import decode
from services.domain.code import (
    AllocationTransactionType,
    CommissionType,
    ExecutionType,
    PriceType,
    SecurityIdSource,
    Side,
)
from services.domain.event import (
    AccountAllocation,
    AllocatedExecution,
    AllocationInstruction,
    Execution,
    IgnoredMessage,
)
from tests import samples
from tests.unit.fix.messages import BODY_4_2, BODY_4_4, BODY_J, framed, message, with_field


def _execution(body: str, *, begin_string: str = "FIX.4.4") -> Execution:
    decoded = decode(message(body, begin_string=begin_string))
    assert isinstance(decoded, Execution)
    return decoded


def _instruction(body: str) -> AllocationInstruction:
    decoded = decode(message(body))
    assert isinstance(decoded, AllocationInstruction)
    return decoded


@pytest.mark.parametrize(
    ("body", "begin_string"),
    [(BODY_4_4, "FIX.4.4"), (BODY_4_4, "FIX.4.3"), (BODY_4_4, "FIXT.1.1"), (BODY_4_2, "FIX.4.2")],
)
def test_the_same_fill_is_the_same_record_in_every_version_and_by_avro(body: str, begin_string: str) -> None:
    """Duplicates across roads are recognised only if no version of FIX leaves a trace in the record."""
    assert _execution(body, begin_string=begin_string) == samples.execution()


BOOKED = [
    # begin string, 20, 150, booked as
    ("FIX.4.4", None, "F", ExecutionType.TRADE),
    ("FIX.4.4", None, "G", ExecutionType.TRADE_CORRECT),
    ("FIX.4.4", None, "H", ExecutionType.TRADE_CANCEL),
    ("FIX.4.2", "0", "1", ExecutionType.TRADE),
    ("FIX.4.2", "0", "2", ExecutionType.TRADE),
    ("FIX.4.2", "1", "1", ExecutionType.TRADE_CANCEL),
    ("FIX.4.2", "1", "0", ExecutionType.TRADE_CANCEL),  # the only fill is busted: the order is new again
    ("FIX.4.2", "1", "4", ExecutionType.TRADE_CANCEL),  # some senders say Canceled for a bust
    ("FIX.4.2", "2", "2", ExecutionType.TRADE_CORRECT),
]


@pytest.mark.parametrize(("begin_string", "transaction", "execution_type", "booked"), BOOKED)
def test_reports_that_are_booked(
    begin_string: str, transaction: str | None, execution_type: str, booked: ExecutionType
) -> None:
    """A bust that is overlooked settles a trade that does not exist."""
    body = BODY_4_2 if begin_string == "FIX.4.2" else BODY_4_4
    body = with_field(with_field(body, "150", execution_type), "19", "E0")
    if transaction is not None:
        body = with_field(body, "20", transaction)

    decoded = _execution(body, begin_string=begin_string)

    assert decoded.execution_type is booked
    assert decoded.execution_reference_id == "E0"


IGNORED = [
    *[("FIX.4.4", None, code) for code in "03456789ABCDEIJKL"],
    *[("FIX.4.2", "0", code) for code in "03456789ABCDE"],
    ("FIX.4.2", "3", "2"),  # ExecTransType 3 is a status, whatever it says of the last fill
]


@pytest.mark.parametrize(("begin_string", "transaction", "execution_type"), IGNORED)
def test_reports_about_the_order_are_ignored_by_name(
    begin_string: str, transaction: str | None, execution_type: str
) -> None:
    """A status or a restatement repeats the last fill; booking it would double the trade."""
    body = with_field(BODY_4_2 if begin_string == "FIX.4.2" else BODY_4_4, "150", execution_type)
    if transaction is not None:
        body = with_field(body, "20", transaction)

    assert decode(message(body, begin_string=begin_string)) == IgnoredMessage(cause="execution type")


@pytest.mark.parametrize("message_type", ["0", "A", "D", "AE", "AK", "UX"])
def test_other_message_types_are_ignored_without_being_read(message_type: str) -> None:
    """A session's file also holds heartbeats and orders."""
    decoded = decode(message(f"35={message_type}|49=OMS1|56=POSTTRADE|34=1|52=20260302-10:00:00"))

    assert decoded == IgnoredMessage(cause="message type")


EXECUTION_FIELDS = [
    # tag, value, field, expected
    ("54", "2", "side", Side.SELL),
    ("54", "5", "side", Side.SELL_SHORT),
    ("54", "6", "side", Side.SELL_SHORT),
    ("22", "2", "security_id_source", SecurityIdSource.SEDOL),
    ("22", "1", "security_id_source", SecurityIdSource.CUSIP),
    ("423", "1", "price_type", PriceType.PERCENT_OF_PAR),
    ("423", "2", "price_type", PriceType.PER_UNIT),
    ("32", "0.00000001", "quantity", Decimal("0.00000001")),
    ("32", "1000.50000000000", "quantity", Decimal("1000.5")),  # zeros beyond the scale add nothing
    ("32", "-5", "quantity", Decimal(-5)),  # nonsense is capture's to refuse
    ("31", "0", "price", Decimal(0)),
    ("31", "00023.2300000000", "price", Decimal("23.23")),
    ("31", ".5", "price", Decimal("0.5")),
    ("31", "99999999999999999.9999999999", "price", Decimal("99999999999999999.9999999999")),
    ("159", "-12.34567", "accrued_interest_amount", Decimal("-12.34567")),
    ("63", "2", "settlement_type", "2"),
    ("64", "20260305", "requested_settlement_date", date(2026, 3, 5)),
    ("75", "20240229", "trade_date", date(2024, 2, 29)),
    ("60", "19700101-00:00:01", "transaction_time_us", 1_000_000),
    ("60", "19700102-00:00:00.123456", "transaction_time_us", 86_400_123_456),
    ("60", "19700101-00:00:00.123456999", "transaction_time_us", 123_456),
    ("60", "20161231-23:59:60", "transaction_time_us", 1_483_228_800_000_000),  # leap second
    ("43", "Y", "possible_duplicate", True),
    ("97", "Y", "possible_duplicate", True),
    ("43", "N", "possible_duplicate", False),
    ("120", "EUR", "currency", "EUR"),
    ("1", "F\u00d6ND", "account", "F\u00d6ND"),
]


@pytest.mark.parametrize(("tag", "value", "field", "expected"), EXECUTION_FIELDS)
def test_where_the_fields_of_an_execution_come_from(tag: str, value: str, field: str, expected: object) -> None:
    """One row per tag and code of the dictionary."""
    assert getattr(_execution(with_field(BODY_4_4, tag, value)), field) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("12=0.0125|13=1", (Decimal("0.0125"), CommissionType.PER_UNIT, None, None)),
        ("12=0.05|13=2", (Decimal("0.05"), CommissionType.PERCENT, None, None)),  # five percent
        ("13=3|12=9.90|479=USD", (Decimal("9.90"), CommissionType.ABSOLUTE, "USD", None)),
        ("12=0.25|13=6", (Decimal("0.25"), CommissionType.PER_BOND, None, None)),
        ("12=0.25|13=6|231=100", (Decimal("0.25"), CommissionType.PER_BOND, None, Decimal(100))),
        ("12=9.90|13=3|231=100", (Decimal("9.90"), CommissionType.ABSOLUTE, None, None)),  # 231 of another matter
        ("479=USD", (None, None, None, None)),
    ],
)
def test_a_commission_is_read_with_its_type(fields: str, expected: tuple[object, ...]) -> None:
    """FIX 12 means nothing without 13; the multiplier belongs to commissions per bond only."""
    decoded = _execution(f"{BODY_4_4}|{fields}")
    found = (decoded.commission, decoded.commission_type, decoded.commission_currency, decoded.contract_multiplier)
    assert found == expected


def test_the_trade_date_is_local_and_may_differ_from_the_utc_dates() -> None:
    """A trade in Tokyo at 08:30 local time is executed on the day before in UTC."""
    body = with_field(with_field(BODY_4_4, "75", "20260303"), "60", "20260302-23:30:00")

    assert _execution(body).trade_date == date(2026, 3, 3)


def test_a_cancellation_need_not_repeat_quantity_and_price() -> None:
    """LastQty and LastPx are required on fills and corrections only."""
    body = with_field(with_field(BODY_4_4, "150", "H"), "19", "E0")
    body = with_field(with_field(body, "32", None), "31", None)

    decoded = _execution(body)

    assert (decoded.quantity, decoded.price) == (Decimal(0), Decimal(0))


def test_a_field_that_contains_separators_is_read_by_its_length() -> None:
    """EncodedText (354/355) may hold SOH and what looks like a fill of another size."""
    text = b"note\x0132=9\x0110=000"
    body = BODY_4_4.replace("|", "\x01").encode() + b"\x01354=%d\x01355=%s\x0158=end\x01" % (len(text), text)

    assert decode(framed(body)) == samples.execution()


def test_a_group_that_is_not_read_may_repeat_tags() -> None:
    """NoMiscFees (136) of an allocation repeats amount, currency and type; none of them is read."""
    body = BODY_J.replace("|54=1|", "|136=2|137=400|138=EUR|139=1|137=600|138=EUR|139=2|54=1|")

    assert _instruction(body) == samples.allocation_instruction()


@pytest.mark.parametrize("group", ["32=400|17=E1|31=99|32=600|17=E2", "17=E1|32=400|31=99|17=E2|32=600"])
def test_the_executions_of_an_allocation(group: str) -> None:
    """NoExecs (124), begun with LastQty as FIX has it or with ExecID; the price may be left out."""
    body = BODY_J.replace("|54=1|", f"|124=2|{group}|54=1|")

    assert _instruction(body).executions == (
        AllocatedExecution(execution_id="E1", quantity=Decimal(400), price=Decimal(99)),
        AllocatedExecution(execution_id="E2", quantity=Decimal(600)),
    )


def test_a_fragment_of_an_allocation() -> None:
    """TotNoAllocs (892) counts the accounts of all fragments, LastFragment (893) says whether more are to come."""
    fragment = _instruction(BODY_J.replace("|78=2|", "|892=5|78=2|") + "|893=N")

    assert (fragment.total_allocations, fragment.last_fragment) == (5, False)
    assert (_instruction(BODY_J).total_allocations, _instruction(BODY_J).last_fragment) == (None, None)


def test_allocation_instruction() -> None:
    """The whole of a new allocation, and each share with its own id when it has one."""
    assert _instruction(BODY_J) == samples.allocation_instruction()

    with_ids = _instruction(BODY_J.replace("80=600", "467=P1|80=600|161=note").replace("80=400", "80=400|467=P2"))

    assert with_ids.allocations == (
        AccountAllocation(account="FUND-A", quantity=Decimal(600), individual_allocation_id="P1"),
        AccountAllocation(account="FUND-B", quantity=Decimal(400), individual_allocation_id="P2"),
    )


def test_the_order_of_an_allocation_may_come_without_a_client_order_id() -> None:
    """Senders that know only their OrderID leave ClOrdID (11) out of NoOrders (73), though FIX puts it first."""
    assert _instruction(BODY_J.replace("11=C1|", "")) == samples.allocation_instruction()


def test_allocation_replacement_and_cancellation() -> None:
    """Both name what they change; only a cancellation may leave out the accounts."""
    replacement = _instruction(with_field(with_field(BODY_J, "71", "1"), "72", "J0"))
    without_accounts = BODY_J[: BODY_J.index("|78=")]
    cancellation = _instruction(with_field(with_field(without_accounts, "71", "2"), "72", "J0"))

    assert (replacement.transaction_type, replacement.reference_id) == (AllocationTransactionType.REPLACE, "J0")
    assert (cancellation.transaction_type, cancellation.allocations) == (AllocationTransactionType.CANCEL, ())
