"""An execution becomes a trade once; what comes again or contradicts is seen; corrections follow their trade."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.adapters import fix
from services.capture import state as capture_state
from services.domain import identity
from services.domain.code import CommissionType, ExceptionStatus, ExecutionType, Side
from services.domain.event import Execution, IgnoredMessage
from services.domain.reason import Reason
from services.stage import Suppress
from tests import samples
from tests.unit.capture.desk import NOW_US, Desk, causes, exceptions, received, trades

CORRECT = ExecutionType.TRADE_CORRECT
CANCEL = ExecutionType.TRADE_CANCEL


def _change(execution_id: str, execution_type: ExecutionType, reference: str, **fields: Any) -> Execution:
    return samples.execution(
        execution_id=execution_id, execution_type=execution_type, execution_reference_id=reference, **fields
    )


def test_a_fill_becomes_a_trade_that_carries_all_of_it() -> None:
    """The trade is the execution, its identity, and when it came in."""
    assert trades(Desk().take(samples.execution())) == [samples.captured_trade()]


def test_the_same_report_again_is_a_duplicate_by_whichever_road_it_comes() -> None:
    """Hints, number of decimals and the road through FIX or Avro do not make another report of it."""
    desk = Desk()
    first = samples.execution()
    padded = samples.execution(quantity=Decimal("1000.00000000"), price=Decimal("100.0000000000"))
    by_fix = fix.decode(fix.encode_execution(samples.execution(possible_duplicate=True)))

    outcomes = desk.take(first, first, padded, by_fix)

    assert trades(outcomes) == [samples.captured_trade()]
    assert outcomes[1:] == [Suppress(cause="duplicate")] * 3


NOT_THE_SAME = [
    {"execution_id": "E2"},
    {"sender": "OMS2"},
    {"trade_date": date(2026, 3, 3)},
    {"side": Side.SELL},
]


@pytest.mark.parametrize("changes", NOT_THE_SAME)
def test_another_identity_is_another_trade(changes: dict[str, Any]) -> None:
    """ExecID is unique per sender and day only, and the two sides of a cross are two trades."""
    captured = trades(Desk().take(samples.execution(), samples.execution(**changes)))

    assert len({trade.trade_id for trade in captured}) == 2


OTHER_CONTENT: list[dict[str, Any]] = [
    {"execution_type": CORRECT, "execution_reference_id": "E0"},
    {"execution_reference_id": "E0"},
    {"order_id": "O2"},
    {"account": "FUND-B"},
    {"security_id": "US0378331005"},
    {"quantity": Decimal(1001)},
    {"price": Decimal("100.01")},
    {"price_type": "PERCENT_OF_PAR"},
    {"currency": "USD"},
    {"venue": "XPAR"},
    {"transaction_time_us": 1},
    {"settlement_type": "2"},
    {"requested_settlement_date": date(2026, 3, 5)},
    {"counterparty": "BARCGB22"},
    {"cumulative_quantity": Decimal(2000)},
    {"leaves_quantity": Decimal(1)},
    {"accrued_interest_amount": Decimal(1)},
    {"commission": Decimal(1), "commission_type": CommissionType.ABSOLUTE},
    {"commission": Decimal(1), "commission_type": CommissionType.PERCENT, "commission_currency": "EUR"},
    {"contract_multiplier": Decimal(100)},
]


@pytest.mark.parametrize("changes", OTHER_CONTENT)
def test_the_same_id_with_other_content_is_a_conflict(changes: dict[str, Any]) -> None:
    """Every field but the hint counts; nothing is booked over what was booked."""
    desk = Desk()
    desk.take(samples.execution())

    outcomes = desk.take(samples.execution(**changes))

    assert trades(outcomes) == []
    (exception,) = exceptions(outcomes)
    assert exception.reason == Reason.EXECUTION_CONFLICTS
    assert causes(desk.take(samples.execution())) == ["duplicate"]


def test_content_names_every_field_of_the_records() -> None:
    """A field that is added to a record must be added to its content, or its change would pass as a duplicate."""
    assert {*capture_state.EXECUTION_CONTENT, "possible_duplicate"} == set(Execution.__struct_fields__)
    assert set(capture_state.INSTRUCTION_CONTENT) == set(samples.allocation_instruction().__struct_fields__)
    shares = samples.allocation_instruction().allocations
    assert set(capture_state.SHARE_CONTENT) == set(shares[0].__struct_fields__)
    assert set(capture_state.CONFIRMATION_CONTENT) == set(samples.confirmation().__struct_fields__)


def test_a_fingerprint_tells_values_apart_that_read_alike() -> None:
    """Moving a character from one field to the next is other content."""
    left = samples.execution(account="AB", venue="C")
    right = samples.execution(account="A", venue="BC")

    assert capture_state.execution_fingerprint(left) != capture_state.execution_fingerprint(right)


def test_a_chain_of_corrections_and_a_cancellation_is_one_trade() -> None:
    """Each names the report before it, or the first; the trade keeps its id and counts its versions."""
    desk = Desk()

    captured = trades(
        desk.take(
            samples.execution(),
            _change("E2", CORRECT, "E1", quantity=Decimal(900)),
            _change("E3", CORRECT, "E2", price=Decimal(101)),
            _change("E4", CORRECT, "E1", price=Decimal(102)),
            _change("E5", CANCEL, "E4", quantity=Decimal(0), price=Decimal(0)),
        )
    )

    assert [trade.version for trade in captured] == [1, 2, 3, 4, 5]
    assert {trade.trade_id for trade in captured} == {samples.captured_trade().trade_id}
    assert [trade.execution_id for trade in captured] == ["E1", "E2", "E3", "E4", "E5"]


def test_a_correction_that_comes_again_is_a_duplicate() -> None:
    """Its own ExecID is remembered; a second version of the same content would move the trade twice."""
    desk = Desk()
    correction = _change("E2", CORRECT, "E1", quantity=Decimal(900))
    desk.take(samples.execution(), correction)

    assert desk.take(correction, samples.execution()) == [Suppress(cause="duplicate")] * 2


def test_a_correction_with_the_id_of_another_report_is_a_conflict() -> None:
    """A correction must have an ExecID of its own."""
    desk = Desk()
    desk.take(samples.execution(), _change("E2", CORRECT, "E1", quantity=Decimal(900)))

    (exception,) = exceptions(desk.take(_change("E2", CORRECT, "E1", quantity=Decimal(800))))

    assert exception.reason == Reason.EXECUTION_CONFLICTS


REFERENCES = [
    # what is sent after E1 was captured and cancelled by E2 or not; reason
    (False, {"reference": "E9"}, Reason.EXECUTION_REFERENCE_UNKNOWN),
    (False, {"reference": "E1", "side": Side.SELL}, Reason.EXECUTION_REFERENCE_UNKNOWN),
    (False, {"reference": "E1", "sender": "OMS2"}, Reason.EXECUTION_REFERENCE_UNKNOWN),
    (False, {"reference": "E1", "trade_date": date(2026, 3, 3)}, Reason.EXECUTION_REFERENCE_UNKNOWN),
    (False, {"reference": "E1", "order_id": "O2"}, Reason.EXECUTION_REFERENCE_UNKNOWN),
    (False, {"reference": "E3"}, Reason.EXECUTION_REFERENCE_UNKNOWN),  # itself
    (True, {"reference": "E1"}, Reason.EXECUTION_ALREADY_CANCELLED),
    (True, {"reference": "E2"}, Reason.EXECUTION_ALREADY_CANCELLED),
]


@pytest.mark.parametrize("execution_type", [CORRECT, CANCEL])
@pytest.mark.parametrize(("is_cancelled", "fields", "reason"), REFERENCES)
def test_references_that_lead_nowhere(
    execution_type: ExecutionType, is_cancelled: bool, fields: dict[str, Any], reason: Reason
) -> None:
    """A change of something unknown or gone is shown to a person, never guessed."""
    desk = Desk()
    desk.take(samples.execution())
    if is_cancelled:
        desk.take(_change("E2", CANCEL, "E1"))

    outcomes = desk.take(_change("E3", execution_type, **fields))

    assert trades(outcomes) == []
    assert [exception.reason for exception in exceptions(outcomes)] == [reason]


def test_a_refused_report_comes_up_once_and_is_closed_by_a_valid_one() -> None:
    """Two bad reports raise an exception each, their resends none; the good one is booked and closes both."""
    desk = Desk()
    no_quantity, no_price = samples.execution(quantity=Decimal(0)), samples.execution(price=Decimal(-1))

    opened = exceptions(desk.take(no_quantity, no_quantity, no_price, no_quantity, no_price))
    outcomes = desk.take(samples.execution())
    closed = exceptions(outcomes, ExceptionStatus.CLOSED)

    assert [exception.reason for exception in opened] == [Reason.QUANTITY_NOT_POSITIVE, Reason.PRICE_NOT_POSITIVE]
    assert trades(outcomes) == [samples.captured_trade()]
    assert [exception.exception_id for exception in closed] == [exception.exception_id for exception in opened]
    assert desk.take(no_quantity, samples.execution(), no_price) == [Suppress(cause="duplicate")] * 3


def test_an_exception_that_comes_back_is_opened_again_under_its_id() -> None:
    """Closed means repaired; other wrong content after that is news."""
    desk = Desk()
    first = exceptions(desk.take(samples.execution(quantity=Decimal(0)), samples.execution()))
    again = exceptions(desk.take(samples.execution(quantity=Decimal(-1))))

    assert [exception.exception_id for exception in again] == [exception.exception_id for exception in first]


def test_a_correction_closes_the_conflict_about_the_report_it_names() -> None:
    """That is how the sender says which of the two contents is right."""
    desk = Desk()
    (opened,) = exceptions(desk.take(samples.execution(), samples.execution(quantity=Decimal(900))))

    outcomes = desk.take(_change("E2", CORRECT, "E1", quantity=Decimal(900)))

    (closed,) = exceptions(outcomes, ExceptionStatus.CLOSED)
    assert closed.exception_id == opened.exception_id
    assert [trade.version for trade in trades(outcomes)] == [2]


def test_an_exception_says_what_was_found_and_expected() -> None:
    """One sentence, the fields, and the names by which sender and desk can talk about it."""
    (exception,) = exceptions(Desk().take(samples.execution(quantity=Decimal("0.00"))))

    subject = samples.captured_trade().trade_id
    assert exception.message == "Execution E1 of OMS1: quantity was 0, expected more than 0."
    assert exception.details == {
        "sender": "OMS1",
        "execution_id": "E1",
        "trade_date": "2026-03-02",
        "side": "BUY",
        "quantity": "0",
    }
    assert (exception.subject_id, exception.order_id, exception.raised_at_us) == (subject, "O1", NOW_US)
    assert exception.exception_id == identity.exception_id(
        service="capture", subject=subject, reason=Reason.QUANTITY_NOT_POSITIVE
    )


def test_unreadable_identifiers_do_not_reach_screens_or_keys() -> None:
    """A sender that puts control characters or a whole page into an id gets an exception of bounded size."""
    bad = samples.execution(order_id="O\n" * 5_000, execution_id="\x1b[2J")

    (exception,) = exceptions(Desk().take(bad))

    assert exception.reason == Reason.IDENTIFIER_INVALID
    assert exception.order_id is None
    assert len(msgspec.json.encode(exception)) < 1_000
    assert exception.message.isprintable()


def test_the_wrong_content_remembered_is_bounded() -> None:
    """A sender that varies without end must not fill the state."""
    desk = Desk()
    for number in range(capture_state.REFUSED_CONTENTS_MAX + 5):
        desk.take(samples.execution(quantity=Decimal(-number)))

    (row,) = desk.state.tables[capture_state.RefusedMessage].values()

    assert isinstance(row, capture_state.RefusedMessage)
    assert len(row.fingerprints) == capture_state.REFUSED_CONTENTS_MAX
    assert row.open_reasons == (Reason.QUANTITY_NOT_POSITIVE,)


def test_the_right_key_later_books_what_came_under_a_wrong_one() -> None:
    """The content was never wrong, only its routing."""
    desk = Desk()
    desk.take_as([received(samples.execution(), key="O2")])

    outcomes = desk.take(samples.execution())

    assert trades(outcomes) == [samples.captured_trade()]
    assert [exception.reason for exception in exceptions(outcomes, ExceptionStatus.CLOSED)] == [
        Reason.ROUTING_KEY_DIFFERS
    ]


def test_what_is_no_execution_is_counted() -> None:
    """Order states in a FIX file are many and expected."""
    assert Desk().take(IgnoredMessage(cause="message type")) == [Suppress(cause="not_an_execution")]


def test_an_event_of_another_service_is_our_bug() -> None:
    """It can only come from wrong wiring, and must not be dropped."""
    with pytest.raises(TypeError, match="capture was given a AllocatedTrade"):
        Desk().take(samples.allocated_trade())


def test_nothing_falls_due() -> None:
    """Capture waits for nothing, even with exceptions open."""
    desk = Desk()
    desk.take(samples.execution(quantity=Decimal(0)))

    assert desk.stage.on_time(desk.state, NOW_US + 10**12) == []
