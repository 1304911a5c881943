"""Ids must come out tomorrow as they did yesterday: what was instructed is recognised by them."""

from __future__ import annotations

import base64
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from services.domain import identity


@given(st.binary(min_size=32, max_size=32), st.integers(1, 24).map(lambda half: 2 * half))
def test_base32_is_the_one_of_the_standard(digest: bytes, characters: int) -> None:
    """RFC 4648, as the standard library writes it."""
    assert identity.base32(digest, characters=characters) == base64.b32encode(digest)[:characters].decode()


def test_ids_stay_what_they_were() -> None:
    """An id that changed with a release would make a replay instruct a trade a second time."""
    day = date(2026, 3, 2)
    assert identity.trade_id(sender="OMS1", trade_date=day, execution_id="E1", side="BUY") == "TRWK5MDG4ZNWSCB2"
    assert identity.block_id(order_id="O1", trade_date=day) == "BLHY7GDS2D6NHMNQ"
    assert identity.instruction_id(allocation="AL1", version=1, account="FUND-A", leg="DVP") == "SIZQY7EHK55HXQZR"
