"""What cannot be read for certain is refused with one sentence that names the tag and quotes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.fix import FixError, decode
from services.domain.event import AllocationInstruction, Execution, IgnoredMessage
from tests.unit.fix.messages import BODY_4_2, BODY_4_4, BODY_J, framed, message, with_field

GOOD = message(BODY_4_4)


def _reason(raw: bytes) -> str:
    with pytest.raises(FixError) as refused:
        decode(raw)
    return str(refused.value)


FRAMING = [
    (b"", "BeginString (8)"),
    (b"hello", "BeginString (8)"),
    (b"\xff\xfe\x00", "BeginString (8)"),
    (b'{"sender": "OMS1"}', "BeginString (8)"),
    (b"8=FIX.4.4\x01", "BodyLength (9)"),
    (b"8=FIX.4.4\x0135=8\x019=5\x0110=000\x01", "BodyLength (9)"),
    (GOOD.replace(b"\x019=", b"\x019=1"), "BodyLength (9)"),
    (GOOD.replace(b"\x019=", b"\x019=-"), "BodyLength (9)"),
    (GOOD[:-1], "CheckSum (10)"),
    (GOOD[:-8], "CheckSum (10)"),
    (GOOD + b"\n", "CheckSum (10)"),
    (GOOD + GOOD, "BodyLength (9)"),
    (GOOD.replace(b"32=1000", b"32=1001"), "CheckSum (10)"),
    (framed(b""), "MsgType (35)"),
    (framed(b"49=OMS1\x0135=8\x01"), "MsgType (35)"),
    (framed(b"35=8\x0149\x01"), "tag=value"),
    (framed(b"35=8\x01x=1\x01"), "tag=value"),
    (framed(b"35=8\x0195=9\x0196=ab\x01"), "data field (96)"),
    (framed(b"35=8\x0195=x\x0196=ab\x01"), "length field (95)"),
    (message(BODY_4_4, begin_string="FIX.4.0"), "BeginString (8)"),
]


@pytest.mark.parametrize(("raw", "named"), FRAMING)
def test_framing(raw: bytes, named: str) -> None:
    """A message that was cut, glued or changed on its way is not a trade."""
    assert named in _reason(raw)


REQUIRED = ("49", "17", "150", "37", "1", "54", "48", "22", "32", "31", "15", "30", "75", "60", "14", "151")

FIELDS = [
    # body, tag, value (None: missing), what the sentence says
    *[(BODY_4_4, tag, None, f"({tag}) was missing") for tag in REQUIRED],
    *[(BODY_4_4, tag, "", f"({tag}) was empty") for tag in REQUIRED],
    (BODY_4_4, "453", None, "NoPartyIDs (453) was missing"),
    (BODY_4_4, "453", "3", "NoPartyIDs (453) was 3, but 2 entries came"),
    (BODY_4_4, "453", "1", "NoPartyIDs (453) was 1, but 2 entries came"),
    (BODY_4_4, "453", "0", "NoPartyIDs (453)"),
    (BODY_4_4, "453", "two", "NoPartyIDs (453) was not a number"),
    (BODY_4_4, "150", "1", "ExecType (150)"),
    (BODY_4_4, "150", "Z", "ExecType (150)"),
    (BODY_4_4, "150", "G", "ExecRefID (19) was missing"),
    (BODY_4_4, "150", "H", "ExecRefID (19) was missing"),
    (BODY_4_4, "32", "NaN", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", "1E3", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", "+1", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", "1,000", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", "1_000", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", " 1", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", ".", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", "-", "LastQty (32) was not a plain number"),
    (BODY_4_4, "32", "1.000000001", "at most 20 digits and 8 decimals"),
    (BODY_4_4, "32", "1" * 21, "at most 20 digits and 8 decimals"),
    (BODY_4_4, "31", "1.00000000001", "at most 18 digits and 10 decimals"),
    (BODY_4_4, "159", "1.000001", "at most 18 digits and 5 decimals"),
    (BODY_4_4, "14", "\u0661", "CumQty (14) was not a plain number"),
    (BODY_4_4, "54", "8", "Side (54) was not one of 1, 2, 5, 6"),
    (BODY_4_4, "22", "5", "SecurityIDSource (22) was not one of 4, 2, 1"),
    (BODY_4_4, "423", "9", "PriceType (423) was not one of 1, 2"),  # a yield is not a price
    (BODY_4_4 + "|13=3", "12", None, "Commission (12) was missing"),
    (BODY_4_4 + "|12=1", "13", None, "CommType (13) was missing"),
    *[(BODY_4_4 + "|12=1", "13", kind, "CommType (13) was not one of 1, 2, 3, 6") for kind in "4578"],
    (BODY_4_4 + "|12=1|13=3", "12", "1 %", "Commission (12) was not a plain number"),
    (BODY_4_4 + "|12=1|13=6", "231", "x", "ContractMultiplier (231) was not a plain number"),
    (BODY_4_4, "43", "y", "PossDupFlag (43) was neither Y nor N"),
    (BODY_4_4, "75", "20260230", "TradeDate (75) was not a date"),
    (BODY_4_4, "75", "2026-03-02", "TradeDate (75) was not a date"),
    (BODY_4_4, "75", "260302", "TradeDate (75) was not a date"),
    (BODY_4_4, "64", "20261301", "SettlDate (64) was not a date"),
    (BODY_4_4, "60", "20260302", "TransactTime (60) was not a UTC time"),
    (BODY_4_4, "60", "20260302-25:00:00", "TransactTime (60) was not a UTC time"),
    (BODY_4_4, "60", "20260302-10:61:00", "TransactTime (60) was not a UTC time"),
    (BODY_4_4, "60", "20260302-10:00:00+01", "TransactTime (60) was not a UTC time"),
    (BODY_4_4, "60", "20260231-10:00:00", "TransactTime (60) was not a UTC time"),
    (BODY_4_4, "120", "USD", "SettlCurrency (120)"),
    (BODY_J, "70", None, "AllocID (70) was missing"),
    (BODY_J, "71", "6", "AllocTransType (71) was not one of 0, 1, 2"),
    (BODY_J, "71", "1", "RefAllocID (72) was missing"),
    (BODY_J, "73", None, "NoOrders (73) was missing"),
    (BODY_J, "73", "2", "NoOrders (73) was 2, but 1 entries came"),
    (BODY_J, "37", None, "OrderID (37) was missing"),
    (BODY_J, "78", None, "NoAllocs (78) was missing"),
    (BODY_J, "78", "3", "NoAllocs (78) was 3, but 2 entries came"),
    (BODY_J, "78", "1", "NoAllocs (78) was 1, but 2 entries came"),
    (BODY_J, "79", None, "NoAllocs (78) did not begin with AllocAccount (79)"),
    (BODY_J, "80", "6OO", "AllocQty (80) was not a plain number"),
    (BODY_J, "53", None, "Quantity (53) was missing"),
    (BODY_J, "75", None, "TradeDate (75) was missing"),
]


@pytest.mark.parametrize(("body", "tag", "value", "sentence"), FIELDS)
def test_fields(body: str, tag: str, value: str | None, sentence: str) -> None:
    """Each way a field can be missing or wrong."""
    assert sentence in _reason(message(with_field(body, tag, value)))


FIELDS_4_2 = [
    ("20", None, "ExecTransType (20) was missing"),
    ("20", "4", "ExecTransType (20) was not one of"),
    ("150", "F", "ExecType (150)"),
    ("382", None, "NoPartyIDs (453) was missing"),
    ("382", "2", "NoContraBrokers (382) was 2, but 1 entries came"),
    ("75", None, "TradeDate (75) was missing"),
]


@pytest.mark.parametrize(("tag", "value", "sentence"), FIELDS_4_2)
def test_fields_of_4_2(tag: str, value: str | None, sentence: str) -> None:
    """FIX 4.2 says some things with other tags."""
    assert sentence in _reason(message(with_field(BODY_4_2, tag, value), begin_string="FIX.4.2"))


AMBIGUOUS = [
    (BODY_4_4 + "|32=2000", "LastQty (32) came twice"),
    (BODY_4_4 + "|37=O2", "OrderID (37) came twice"),
    (BODY_4_4.replace("448=TRADER9|447=D|452=12", "448=BARCGB22|447=B|452=17"), "PartyID (448) of the contra firm"),
    (BODY_4_4.replace("447=B|452=17", "447=D|452=17"), "PartyID (448) of the contra firm"),
    (BODY_4_4.replace("452=17", "452=4"), "PartyRole (452) 17"),
    (BODY_4_4.replace("453=2|448=TRADER9", "448=TRADER9|453=2"), "came before its count"),
    (BODY_J.replace("73=1|11=C1|37=O1", "73=2|11=C1|37=O1|11=C2|37=O2"), "did not name one order"),
    (BODY_J.replace("80=600", "80=600|80=600"), "AllocQty (80) came twice in one entry of NoAllocs (78)"),
    (BODY_J.replace("79=FUND-B|80=400", "80=400|79=FUND-B"), "AllocQty (80) came twice in one entry of NoAllocs (78)"),
    (BODY_J.replace("79=FUND-B|80=400", "79=FUND-B"), "AllocQty (80) was missing"),
    (BODY_J.replace("78=2|79=FUND-A", "79=FUND-A|78=2"), "came before its count"),
]


@pytest.mark.parametrize(("body", "sentence"), AMBIGUOUS)
def test_a_message_that_can_be_read_in_two_ways_is_not_read(body: str, sentence: str) -> None:
    """Taking the last, or the first, of two values would be a guess with money."""
    assert sentence in _reason(message(body))


def test_a_field_that_is_repeated_alike_is_no_contradiction() -> None:
    """Some gateways repeat a field; the same value leaves nothing open."""
    assert decode(message(BODY_4_4 + "|32=1000")) == decode(GOOD)


def test_the_sentence_quotes_nothing_of_the_message() -> None:
    """It is logged and shown; accounts and prices are not for every reader."""
    for tag in ("31", "75", "60", "54", "22", "150"):
        assert "SECRET" not in _reason(message(with_field(BODY_4_4, tag, "SECRET")))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, len(GOOD)), st.integers(0, 3))
def test_any_bytes_are_decoded_or_refused(noise: bytes, at: int, dropped: int) -> None:
    """Nothing that arrives may end as another exception: it would look like our own bug."""
    for raw in (noise, GOOD[:at] + noise + GOOD[at + dropped :]):
        try:
            decoded = decode(raw)
        except FixError as refused:
            assert str(refused)
        else:
            assert isinstance(decoded, Execution)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([BODY_4_4, BODY_4_2, BODY_J]),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("drs")), max_size=4),
    st.sampled_from(["FIX.4.2", "FIX.4.4"]),
)
def test_any_disorder_of_fields_is_decoded_or_refused(body: str, edits: list[tuple[int, str]], version: str) -> None:
    """Framing is right, fields are dropped, repeated or moved: still only FixError."""
    fields = body.split("|")
    for index, kind in edits:
        at = index % len(fields)
        if kind == "d" and len(fields) > 1:
            fields.pop(at)
        elif kind == "r":
            fields.insert(0 if at % 2 else len(fields), fields[at])
        else:
            fields.append(fields.pop(at))
    try:
        decoded = decode(message("|".join(fields), begin_string=version))
    except FixError as refused:
        assert str(refused)
    else:
        assert isinstance(decoded, Execution | AllocationInstruction | IgnoredMessage)
