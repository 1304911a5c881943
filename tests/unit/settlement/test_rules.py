"""Which confirmed trades are instructed, and how the instruction follows from the trade."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.domain import identity
from services.domain.code import InstrumentType, Movement, Payment, PriceType, Side
from services.domain.reason import Reason
from services.settlement import rules
from services.settlement.state import Instructed
from tests import samples


@pytest.mark.parametrize(
    ("side", "movement"),
    [(Side.BUY, Movement.RECEIVE), (Side.SELL, Movement.DELIVER), (Side.SELL_SHORT, Movement.DELIVER)],
)
@pytest.mark.parametrize(
    ("amount", "payment"),
    [("100000.00", Payment.AGAINST_PAYMENT), ("0.01", Payment.AGAINST_PAYMENT), ("0", Payment.FREE)],
)
def test_movement_follows_the_side_and_payment_the_cash(
    side: Side, movement: Movement, amount: str, payment: Payment
) -> None:
    """A sale that is instructed as a receipt, or free of payment, loses the securities."""
    trade = samples.confirmed_trade(side=side, settlement_amount=Decimal(amount), net_amount=Decimal(amount))
    assert rules.refusal(trade) is None
    instruction = rules.instruction_for(trade)
    assert (instruction.movement, instruction.payment, instruction.amount) == (movement, payment, Decimal(amount))


def test_instruction_carries_the_trade_and_no_cash_but_the_settlement_amount() -> None:
    """What both sides instruct is the agreed amount, not our own net amount, and our chain is ours."""
    trade = samples.confirmed_trade(
        settlement_amount=Decimal("99999.50"),
        instrument_type=InstrumentType.CORPORATE_BOND,
        price_type=PriceType.PERCENT_OF_PAR,
        accrued_interest=Decimal("12.34"),
    )
    instruction = rules.instruction_for(trade)
    carried = (
        *("allocation_id", "order_id", "trade_ids", "isin", "instrument_type", "quantity", "account", "counterparty"),
        *("counterparty_chain", "currency", "accrued_interest", "price_type", "venue", "trade_date"),
        *("settlement_date", "received_at_us"),
    )
    assert {name: getattr(instruction, name) for name in carried} == {name: getattr(trade, name) for name in carried}
    assert instruction.amount == Decimal("99999.50")
    assert instruction.deal_price == trade.average_price
    assert instruction.own_chain == trade.account_chain
    assert (instruction.version, instruction.common_reference) == (1, None)


def test_instruction_id_is_derived_from_the_allocation_alone() -> None:
    """Whatever else is repaired on the way, one allocation has one instruction id, and another one has another."""
    trade = samples.confirmed_trade()
    expected = identity.instruction_id(allocation=trade.allocation_id, version=1, account=trade.account, leg="DVP")
    repaired = samples.confirmed_trade(venue="XPAR", settlement_amount=Decimal(0), net_amount=Decimal(0))
    assert rules.instruction_for(trade).instruction_id == rules.instruction_for(repaired).instruction_id == expected
    assert rules.instruction_for(samples.confirmed_trade(allocation_id="ALOTHER")).instruction_id != expected


_ELSEWHERE = {"account_chain": samples.account_chain(depository_bic="CEDELULLXXX")}

REFUSED: list[tuple[dict[str, Any], Reason, str]] = [
    ({"quantity": Decimal(0)}, Reason.INSTRUCTION_INVALID, "quantity"),
    ({"quantity": Decimal(-5)}, Reason.INSTRUCTION_INVALID, "quantity"),
    ({"settlement_amount": Decimal("-0.01")}, Reason.INSTRUCTION_INVALID, "settlement_amount"),
    # a zero within tolerance of a small net amount would deliver securities for nothing
    ({"settlement_amount": Decimal(0), "net_amount": Decimal("1.50")}, Reason.INSTRUCTION_INVALID, "settlement_amount"),
    ({"settlement_date": date(2026, 3, 1)}, Reason.INSTRUCTION_INVALID, "settlement_date"),
    (_ELSEWHERE, Reason.PLACE_OF_SETTLEMENT_DIFFERS, "account_chain.depository_bic"),
    # precedence: economics before dates before place
    ({"quantity": Decimal(0), "settlement_amount": Decimal(-1)}, Reason.INSTRUCTION_INVALID, "quantity"),
    (
        {"settlement_amount": Decimal(-1), "settlement_date": date(2026, 3, 1)},
        Reason.INSTRUCTION_INVALID,
        "settlement_amount",
    ),
    ({"settlement_date": date(2026, 3, 1)} | _ELSEWHERE, Reason.INSTRUCTION_INVALID, "settlement_date"),
]


@pytest.mark.parametrize(("changes", "reason", "field"), REFUSED)
def test_refused_trades(changes: dict[str, Any], reason: Reason, field: str) -> None:
    """Each refusal names its field, and the most basic trouble is named first."""
    found = rules.refusal(samples.confirmed_trade(**changes))
    assert found is not None
    assert found.reason is reason
    assert field in found.details


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("DAKVDEFFXXX", "DAKVDEFFXXX", True),
        ("DAKVDEFF", "DAKVDEFFXXX", True),  # ISO 9362: without a branch the primary office is meant
        ("DAKVDEFFXXX", "DAKVDEFF", True),
        ("DAKVDEFF1LI", "DAKVDEFFXXX", False),  # a branch is another place
        ("CEDELULLXXX", "MGTCBEBEXXX", False),  # linked in life, but no data says so here
    ],
)
def test_place_of_settlement(ours: str, theirs: str, same: bool) -> None:
    """Two spellings of one depository must not stop a trade, two depositories must."""
    trade = samples.confirmed_trade(
        account_chain=samples.account_chain(depository_bic=ours),
        counterparty_chain=samples.counterparty_chain(depository_bic=theirs),
    )
    assert (rules.refusal(trade) is None) is same


def _instructed() -> Instructed:
    return Instructed(instruction_id="SI1", fingerprint=rules.fingerprint(samples.confirmed_trade()))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"settlement_amount": Decimal("100000.00000"), "quantity": Decimal("1E+3"), "average_price": Decimal(100)},
        {"side": Side.BUY, "confirmation_id": "C2", "received_at_us": 1, "matching_profile": "OTHER"},
    ],
)
def test_same_terms_are_a_duplicate(changes: dict[str, Any]) -> None:
    """Zeros at the end, another confirmation id or another time do not make another trade."""
    assert rules.conflict(samples.confirmed_trade(**changes), _instructed()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"side": Side.SELL},
        {"account": "FUND-B"},
        {"isin": "DE0007236101"},
        {"instrument_type": InstrumentType.ETF},
        {"quantity": Decimal(999)},
        {"settlement_amount": Decimal("100000.01")},
        {"currency": "USD"},
        {"accrued_interest": Decimal("0.01")},
        {"average_price": Decimal("100.0000000001")},
        {"price_type": PriceType.PERCENT_OF_PAR},
        {"venue": "XPAR"},
        {"trade_date": date(2026, 3, 1)},
        {"settlement_date": date(2026, 3, 5)},
        {"account_chain": samples.account_chain(safekeeping_account="OTHER")},
        {"account_chain": samples.account_chain(participant_account=None)},
        {"counterparty_chain": samples.counterparty_chain(participant_account=None)},
        {"counterparty_chain": samples.counterparty_chain(participant_account="")},
        {"counterparty_chain": samples.counterparty_chain(client_bic="BARCGB22")},
        {"counterparty_chain": samples.counterparty_chain(participant_bic="BARCGB22")},
        {"counterparty_chain": samples.counterparty_chain(depository_bic="BARCGB22")},
    ],
)
def test_other_terms_are_a_conflict(changes: dict[str, Any]) -> None:
    """Every term that reaches the depository counts: a change that is taken for a duplicate is a wrong settlement."""
    found = rules.conflict(samples.confirmed_trade(**changes), _instructed())
    assert found is not None
    assert found.reason is Reason.CONFIRMED_TRADE_CONFLICTS
    assert found.details["instruction_id"] == "SI1"
