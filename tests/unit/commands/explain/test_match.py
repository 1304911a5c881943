"""A match explained: the two records as the topics have them, and the same verdict as the confirmation stage."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.avro_codec import to_json
from services.commands.explain import match
from services.commands.explain.cases import parse_object, read_case
from services.commands.explain.kind import Answer
from services.confirmation.process import ConfirmationStage
from services.domain.code import ChargeType, InstrumentType
from services.domain.event import AllocatedTrade, Charge, ConfirmedTrade, ExceptionEvent, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.reference import Party, ReferenceData
from services.stage import Publish, Received
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.commands.explain.asking import ask_json, refusal_of
from tests.unit.reference_files.shipped import shipped_reference

PARTY = Party(bic=samples.COUNTERPARTY_BIC, lei="7LTWFZYICNSX8D621K86", name="Bank")


@cache
def reference() -> ReferenceData:
    """The shipped profiles, and a counterparty that names none of its own."""
    return shipped_reference(PARTY)


def verdict(trade: AllocatedTrade, confirmation: ReceivedConfirmation) -> dict[str, str] | None:
    """What the stage finds to differ; None when it confirms."""
    events = [trade, confirmation]
    batch = [Received(topic="", key=None, event=event, timestamp_us=samples.RECEIVED_AT_US) for event in events]
    outcomes = ConfirmationStage().process(batch, MemoryState(reference()), samples.RECEIVED_AT_US)
    published = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    if any(isinstance(event, ConfirmedTrade) for event in published):
        return None
    (shown,) = (
        event
        for event in published
        if isinstance(event, ExceptionEvent) and event.reason == Reason.CONFIRMATION_MISMATCHED
    )
    return shown.details


def explained(trade: AllocatedTrade, confirmation: ReceivedConfirmation) -> Answer:
    """The answer to the two records, as the topics have them."""
    records = {"ours": to_json(trade), "theirs": to_json(confirmation), "counterparty": trade.counterparty}
    return match.KIND.explain(read_case(match.KIND, parse_object(json.dumps(records))), reference())


CENTS = st.integers(-3_000, 3_000).map(lambda cents: Decimal(cents).scaleb(-2))
SMALL = st.sampled_from((Decimal(0), Decimal("0.00005"), Decimal("0.0001"), Decimal("0.00011"), Decimal("-0.0002")))


@settings(max_examples=500, deadline=None)
@given(
    currency=st.sampled_from(("EUR", "USD", "JPY", "SEK")),
    net_amount=st.sampled_from((Decimal(100_000), Decimal("100000.01"), Decimal(5_000))),
    commission=st.sampled_from((Decimal(0), Decimal(25))),
    off=st.fixed_dictionaries({"net_amount": CENTS, "price": SMALL, "gross_amount": st.none() | CENTS}),
    quantity_off=st.sampled_from((0, 0, 0, 1)),
    days_off=st.sampled_from((0, 0, 0, 1)),
    their_commission=st.none() | st.sampled_from((Decimal(25), Decimal("25.01"), Decimal(90))),
)
def test_a_match_is_what_the_confirmation_stage_says(
    *,
    currency: str,
    net_amount: Decimal,
    commission: Decimal,
    off: dict[str, Any],
    quantity_off: int,
    days_off: int,
    their_commission: Decimal | None,
) -> None:
    """Matched when the stage confirms; else every field that the stage names, and no other."""
    charge = Charge(charge_id="C", charge_type=ChargeType.COMMISSION, amount=commission, currency=currency)
    trade = samples.allocated_trade(
        currency=currency, net_amount=net_amount, gross_amount=net_amount, charges=(charge,) if commission else ()
    )
    confirmation = samples.received_confirmation(
        currency=currency,
        quantity=trade.quantity + quantity_off,
        price=trade.average_price + off["price"],
        net_amount=net_amount + off["net_amount"],
        settlement_date=trade.settlement_date + timedelta(days=days_off),
        gross_amount=None if off["gross_amount"] is None else net_amount + off["gross_amount"],
        commission=their_commission,
    )
    differs = verdict(trade, confirmation)
    answer = explained(trade, confirmation)
    assert answer.result["matches"] is (differs is None)
    assert answer.result["differ"] == (", ".join(differs) if differs else "nothing beyond tolerance")
    told = {step.what: step.says for step in answer.steps}
    assert {name for name, says in told.items() if says.startswith(("differ", "ours"))} == set(differs or ())


def test_fields_left_out_by_the_counterparty_pair_with_ours() -> None:
    """Who asks about an amount need not repeat what the two agree on."""
    case = {
        "profile": "DEFAULT",
        "ours": {"quantity": 10, "price": 5, "net_amount": 50, "settlement_date": "2026-03-04", "currency": "EUR",
                 "trade_date": "2026-03-02", "side": "SELL", "isin": samples.ISIN, "account": "FUND-A"},
        "theirs": {"quantity": 10, "price": 5, "net_amount": 52, "settlement_date": "2026-03-04"},
    }  # fmt: skip
    answer = ask_json("match", case)
    assert answer["result"]["matches"] is True
    case["theirs"] |= {"side": "SELL", "account": "FUND-B"}  # type: ignore[operator]  # a JSON object
    assert ask_json("match", case)["result"]["differ"] == "side, account"


def test_without_a_profile_everything_must_be_equal() -> None:
    trade = samples.allocated_trade(instrument_type=InstrumentType.EQUITY)
    confirmation = samples.received_confirmation(net_amount=trade.net_amount + Decimal("0.01"))
    records = {"ours": to_json(trade), "theirs": to_json(confirmation)}
    answer = ask_json("match", records)
    assert answer["result"] == {"matches": False, "profile": "EXACT", "differ": "net_amount"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"profile": "NONE"}, "profile NONE has no row for EUR on 2026-03-02"),
        ({"profile": "DEFAULT", "counterparty": "DEUTDEFF"}, "profile and counterparty exclude each other"),
        ({"theirs": {}}, "theirs_quantity is missing"),
    ],
)
def test_a_match_that_cannot_be_asked_says_what_to_do(changes: dict[str, Any], says: str) -> None:
    records = {
        "ours": to_json(samples.allocated_trade(trade_date=date(2026, 3, 2))),
        "theirs": to_json(samples.received_confirmation()),
    }
    assert says in refusal_of("match", given=json.dumps(records | changes))
