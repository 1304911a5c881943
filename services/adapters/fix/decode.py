"""From the bytes of one message to the record that capture reads."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.adapters.fix.fields import AMOUNT, PRICE, QUANTITY, Message, read_number, read_text, tag_name
from services.adapters.fix.framing import FixError, split_fields
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

_VERSIONS = frozenset({"FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"})
_VERSION_WITH_EXEC_TRANS_TYPE = "FIX.4.2"

_SIDES = {b"1": Side.BUY, b"2": Side.SELL, b"5": Side.SELL_SHORT, b"6": Side.SELL_SHORT}  # 6: short sale, exempt
_SECURITY_ID_SOURCES = {
    b"4": SecurityIdSource.ISIN,
    b"2": SecurityIdSource.SEDOL,
    b"1": SecurityIdSource.CUSIP,
}
_PRICE_TYPES = {b"1": PriceType.PERCENT_OF_PAR, b"2": PriceType.PER_UNIT}
_COMMISSION_TYPES = {
    b"1": CommissionType.PER_UNIT,
    b"2": CommissionType.PERCENT,
    b"3": CommissionType.ABSOLUTE,
    b"6": CommissionType.PER_BOND,
}
_ALLOCATION_TYPES = {
    b"0": AllocationTransactionType.NEW,
    b"1": AllocationTransactionType.REPLACE,
    b"2": AllocationTransactionType.CANCEL,
}

_BOOKED_EXECUTION_TYPES = {
    b"F": ExecutionType.TRADE,
    b"G": ExecutionType.TRADE_CORRECT,
    b"H": ExecutionType.TRADE_CANCEL,
}
# Done for day, cancelled, replaced, pending cancel, stopped, rejected, suspended, pending new, calculated, expired,
# restated, pending replace; I order status and J to N clearing hold, release, trigger, lock came later.
_ORDER_EXECUTION_TYPES = frozenset(b"0 3 4 5 6 7 8 9 A B C D E".split())
_LATER_ORDER_EXECUTION_TYPES = _ORDER_EXECUTION_TYPES | frozenset(b"I J K L M N".split())
_FILL_EXECUTION_TYPES_4_2 = frozenset({b"1", b"2"})
_EXEC_TRANS_TYPE_NEW = b"0"
_EXEC_TRANS_TYPE_STATUS = b"3"
_CHANGING_EXEC_TRANS_TYPES = {b"1": ExecutionType.TRADE_CANCEL, b"2": ExecutionType.TRADE_CORRECT}

# What is read and comes once: a second, different value would leave open which one is meant.
_SINGLE_TAGS = frozenset(b"35 43 49 97 22 48 54 75".split())
_EXECUTION_TAGS = _SINGLE_TAGS | frozenset(
    b"1 12 13 14 15 17 19 20 30 31 32 37 60 63 64 120 150 151 159 231 382 423 453 479".split()
)
_ALLOCATION_TAGS = _SINGLE_TAGS | frozenset(b"6 53 70 71 72 73 78 124 892 893".split())

_NO_COMMISSION: dict[str, Any] = {}

_PARTY_MEMBERS = frozenset({b"448", b"447", b"452"})
_CONTRA_BROKER_MEMBERS = frozenset({b"375"})
_ALLOCATION_MEMBERS = frozenset({b"79", b"80", b"467"})
_ORDER_MEMBERS = frozenset({b"37"})
_EXECUTION_MEMBERS = frozenset({b"32", b"17", b"31"})
_ROLE_CONTRA_FIRM = b"17"
_SOURCE_BIC = b"B"


def decode(raw: bytes) -> Execution | AllocationInstruction | IgnoredMessage:
    """Read one FIX message.

    Raises FixError, one sentence without any content of the message, for everything that cannot be read for certain.
    """
    begin_string, fields = split_fields(raw)
    if begin_string not in _VERSIONS:
        raise FixError("BeginString (8) was no version that is read: FIX.4.2, FIX.4.3, FIX.4.4 or FIXT.1.1")
    message_type = fields[0][1]
    if message_type == b"8":
        return _decode_execution_report(Message(begin_string, fields, single_tags=_EXECUTION_TAGS))
    if message_type == b"J":
        return _decode_allocation_instruction(Message(begin_string, fields, single_tags=_ALLOCATION_TAGS))
    return IgnoredMessage(cause="message type")


def _decode_execution_report(message: Message) -> Execution | IgnoredMessage:
    execution_type = _execution_type(message)
    if isinstance(execution_type, IgnoredMessage):
        return execution_type
    is_cancel = execution_type is ExecutionType.TRADE_CANCEL
    refers = execution_type is not ExecutionType.TRADE
    return Execution(
        sender=message.text(b"49"),
        execution_id=message.text(b"17"),
        execution_type=execution_type,
        execution_reference_id=message.text(b"19") if refers else message.optional_text(b"19"),
        order_id=message.text(b"37"),
        account=message.text(b"1"),
        side=message.code(b"54", _SIDES),
        security_id=message.text(b"48"),
        security_id_source=message.code(b"22", _SECURITY_ID_SOURCES),
        # A cancellation need not repeat what it cancels.
        quantity=Decimal(0) if is_cancel and not message.has(b"32") else message.number(b"32", QUANTITY),
        price=Decimal(0) if is_cancel and not message.has(b"31") else message.number(b"31", PRICE),
        price_type=message.code(b"423", _PRICE_TYPES) if message.has(b"423") else PriceType.PER_UNIT,
        currency=_currency(message),
        venue=message.text(b"30"),
        trade_date=message.local_date(b"75"),
        transaction_time_us=message.timestamp_us(b"60"),
        settlement_type=message.optional_text(b"63"),
        requested_settlement_date=message.optional_local_date(b"64"),
        counterparty=_counterparty(message),
        cumulative_quantity=message.number(b"14", QUANTITY),
        leaves_quantity=message.number(b"151", QUANTITY),
        accrued_interest_amount=message.optional_number(b"159", AMOUNT),
        possible_duplicate=message.flag(b"43") | message.flag(b"97"),
        **_commission(message),
    )


def _commission(message: Message) -> dict[str, Any]:
    """Commission (12) with its CommType (13); neither says anything without the other."""
    if not message.has(b"12") and not message.has(b"13"):
        return _NO_COMMISSION
    commission_type = message.code(b"13", _COMMISSION_TYPES)
    is_per_bond = commission_type is CommissionType.PER_BOND
    return {
        "commission": message.number(b"12", PRICE),
        "commission_type": commission_type,
        "commission_currency": message.optional_text(b"479"),
        "contract_multiplier": message.optional_number(b"231", QUANTITY) if is_per_bond else None,
    }


def _execution_type(message: Message) -> ExecutionType | IgnoredMessage:
    """What is to be booked, or why nothing is."""
    if message.begin_string == _VERSION_WITH_EXEC_TRANS_TYPE:
        return _execution_type_4_2(message)
    code = message.value(b"150")
    booked = _BOOKED_EXECUTION_TYPES.get(code)
    if booked is not None:
        return booked
    if code in _LATER_ORDER_EXECUTION_TYPES:
        return IgnoredMessage(cause="execution type")
    raise FixError("ExecType (150) was no value that this version of FIX defines")


def _execution_type_4_2(message: Message) -> ExecutionType | IgnoredMessage:
    transaction = message.value(b"20")
    if transaction in _CHANGING_EXEC_TRANS_TYPES:
        return _CHANGING_EXEC_TRANS_TYPES[transaction]
    if transaction == _EXEC_TRANS_TYPE_STATUS:
        return IgnoredMessage(cause="execution type")
    if transaction != _EXEC_TRANS_TYPE_NEW:
        raise FixError("ExecTransType (20) was not one of 0, 1, 2, 3")
    code = message.value(b"150")
    if code in _FILL_EXECUTION_TYPES_4_2:
        return ExecutionType.TRADE
    if code in _ORDER_EXECUTION_TYPES:
        return IgnoredMessage(cause="execution type")
    raise FixError("ExecType (150) was no value that FIX 4.2 defines")


def _currency(message: Message) -> str:
    """Currency (15); an execution is booked and settled in one currency, so another SettlCurrency (120) is refused."""
    currency = message.text(b"15")
    if message.has(b"120") and message.text(b"120") != currency:
        raise FixError("SettlCurrency (120) was another currency than Currency (15), which cannot be booked")
    return currency


def _counterparty(message: Message) -> str:
    """BIC of the contra firm: in the Parties group, or in FIX 4.2, which has none, the one ContraBroker (375)."""
    if message.has(b"453"):
        return _contra_firm(message)
    if message.begin_string == _VERSION_WITH_EXEC_TRANS_TYPE and message.has(b"382"):
        return _contra_broker(message)
    raise FixError("NoPartyIDs (453) was missing, so there is no contra firm (452=17)")


def _contra_firm(message: Message) -> str:
    parties = message.group(b"453", _PARTY_MEMBERS, first_tag=b"448")
    firms = [party for party in parties if party.get(b"452") == _ROLE_CONTRA_FIRM]
    if not firms:
        raise FixError("PartyRole (452) 17, the contra firm, was missing")
    by_bic = {read_text(firm, b"448") for firm in firms if firm.get(b"447") == _SOURCE_BIC}
    if len(by_bic) != 1:
        raise FixError("PartyID (448) of the contra firm (452=17) was not given as one BIC (447=B)")
    return by_bic.pop()


def _contra_broker(message: Message) -> str:
    brokers = {read_text(entry, b"375") for entry in message.group(b"382", _CONTRA_BROKER_MEMBERS, first_tag=b"375")}
    if len(brokers) != 1:
        raise FixError("ContraBroker (375) was not one and the same in all entries of NoContraBrokers (382)")
    return brokers.pop()


def _decode_allocation_instruction(message: Message) -> AllocationInstruction:
    transaction_type = message.code(b"71", _ALLOCATION_TYPES)
    refers = transaction_type is not AllocationTransactionType.NEW
    is_cancel = transaction_type is AllocationTransactionType.CANCEL
    return AllocationInstruction(
        sender=message.text(b"49"),
        instruction_id=message.text(b"70"),
        transaction_type=transaction_type,
        reference_id=message.text(b"72") if refers else message.optional_text(b"72"),
        order_id=_block_order_id(message),
        side=message.code(b"54", _SIDES),
        security_id=message.text(b"48"),
        security_id_source=message.code(b"22", _SECURITY_ID_SOURCES),
        quantity=message.number(b"53", QUANTITY),
        average_price=message.optional_number(b"6", PRICE),
        trade_date=message.local_date(b"75"),
        # FIX asks for the accounts on all but cancellations.
        allocations=() if is_cancel and not message.has(b"78") else _allocations(message),
        total_allocations=message.count(b"892") if message.has(b"892") else None,
        last_fragment=message.flag(b"893") if message.has(b"893") else None,
        executions=_executions(message) if message.has(b"124") else (),
    )


def _executions(message: Message) -> tuple[AllocatedExecution, ...]:
    # FIX begins the entries with LastQty (32), and some senders with ExecID (17).
    return tuple(
        AllocatedExecution(
            execution_id=read_text(entry, b"17"),
            quantity=read_number(entry, b"32", QUANTITY),
            price=read_number(entry, b"31", PRICE) if b"31" in entry else None,
        )
        for entry in message.group(b"124", _EXECUTION_MEMBERS, first_tag=None)
    )


def _block_order_id(message: Message) -> str:
    # FIX begins the entries with ClOrdID (11); senders that know only their OrderID leave it out.
    orders = {read_text(entry, b"37") for entry in message.group(b"73", _ORDER_MEMBERS, first_tag=None)}
    if len(orders) != 1:
        raise FixError(f"{tag_name(b'37')} did not name one order in NoOrders (73)")
    return orders.pop()


def _allocations(message: Message) -> tuple[AccountAllocation, ...]:
    return tuple(
        AccountAllocation(
            account=read_text(entry, b"79"),
            quantity=read_number(entry, b"80", QUANTITY),
            individual_allocation_id=read_text(entry, b"467") if b"467" in entry else None,
        )
        for entry in message.group(b"78", _ALLOCATION_MEMBERS, first_tag=b"79")
    )
