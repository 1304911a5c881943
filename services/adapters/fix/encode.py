"""From records to FIX messages, for the sample day, load tests and tests: `decode` gives the same record back."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from services.adapters.fix.framing import frame
from services.domain.code import (
    AllocationTransactionType,
    CommissionType,
    ExecutionType,
    PriceType,
    SecurityIdSource,
    Side,
)
from services.domain.event import AllocationInstruction, Execution

_SIDES = {Side.BUY: "1", Side.SELL: "2", Side.SELL_SHORT: "5"}
_SECURITY_ID_SOURCES = {SecurityIdSource.ISIN: "4", SecurityIdSource.SEDOL: "2", SecurityIdSource.CUSIP: "1"}
_PRICE_TYPES = {PriceType.PERCENT_OF_PAR: "1", PriceType.PER_UNIT: "2"}
_EXECUTION_TYPES = {ExecutionType.TRADE: "F", ExecutionType.TRADE_CORRECT: "G", ExecutionType.TRADE_CANCEL: "H"}
_EXEC_TRANS_TYPES = {ExecutionType.TRADE: "0", ExecutionType.TRADE_CANCEL: "1", ExecutionType.TRADE_CORRECT: "2"}
_COMMISSION_TYPES = {
    CommissionType.PER_UNIT: "1",
    CommissionType.PERCENT: "2",
    CommissionType.ABSOLUTE: "3",
    CommissionType.PER_BOND: "6",
}
_ALLOCATION_TYPES = {
    AllocationTransactionType.NEW: "0",
    AllocationTransactionType.REPLACE: "1",
    AllocationTransactionType.CANCEL: "2",
}

_NO_SYMBOL = "[N/A]"  # what FIX asks for in Symbol (55) when SecurityID (48) names the instrument
_APPLICATION_VERSION_5_0_SP2 = "9"  # ApplVerID (1128)
_EPOCH = date(1970, 1, 1)
_SECOND_US = 1_000_000
_DAY_SECONDS = 86_400

Fields = list[tuple[int, str]]


def encode_execution(
    execution: Execution,
    *,
    begin_string: str = "FIX.4.4",
    target: str = "POSTTRADE",
    sequence_number: int = 1,
    sending_time_us: int | None = None,
) -> bytes:
    """Write an ExecutionReport (35=8) for FIX.4.2, FIX.4.4 or FIXT.1.1.

    `sending_time_us` is the time of the execution unless given. AvgPx (6), which the record does not carry, repeats the
    price of the fill. Raises ValueError when a text is empty or holds SOH.
    """
    fields = _header("8", execution.sender, target, sequence_number, begin_string)
    fields.append((52, _timestamp(execution.transaction_time_us if sending_time_us is None else sending_time_us)))
    if execution.possible_duplicate:
        fields.append((97, "Y"))
    fields += [(37, execution.order_id), (17, execution.execution_id)]
    fields += _kind(execution, begin_string)
    if execution.execution_reference_id is not None:
        fields.append((19, execution.execution_reference_id))
    fields += [(1, execution.account), *_counterparty(execution.counterparty, begin_string)]
    fields += _instrument(execution.security_id, execution.security_id_source)
    fields += [
        (54, _SIDES[execution.side]),
        (423, _PRICE_TYPES[execution.price_type]),
        (15, execution.currency),
        (32, _number(execution.quantity)),
        (31, _number(execution.price)),
        (30, execution.venue),
        (151, _number(execution.leaves_quantity)),
        (14, _number(execution.cumulative_quantity)),
        (6, _number(execution.price)),
        (75, _date(execution.trade_date)),
        (60, _timestamp(execution.transaction_time_us)),
    ]
    fields += [*_settlement(execution), *_commission(execution)]
    return frame(begin_string, fields)


def _header(message_type: str, sender: str, target: str, sequence_number: int, begin_string: str) -> Fields:
    fields = [(35, message_type)]
    if begin_string == "FIXT.1.1":
        fields.append((1128, _APPLICATION_VERSION_5_0_SP2))
    return [*fields, (49, sender), (56, target), (34, str(sequence_number))]


def _kind(execution: Execution, begin_string: str) -> Fields:
    """ExecType and OrdStatus; FIX 4.2 says fill, correction and cancellation with ExecTransType (20) instead."""
    filled = "1" if execution.leaves_quantity else "2"
    status = filled if execution.cumulative_quantity else "0"
    if begin_string == "FIX.4.2":
        execution_type = filled if execution.execution_type is ExecutionType.TRADE else status
        return [(20, _EXEC_TRANS_TYPES[execution.execution_type]), (150, execution_type), (39, status)]
    return [(150, _EXECUTION_TYPES[execution.execution_type]), (39, status)]


def _counterparty(bic: str, begin_string: str) -> Fields:
    if begin_string == "FIX.4.2":
        return [(382, "1"), (375, bic)]
    return [(453, "1"), (448, bic), (447, "B"), (452, "17")]


def _instrument(security_id: str, source: SecurityIdSource) -> Fields:
    return [(55, _NO_SYMBOL), (48, security_id), (22, _SECURITY_ID_SOURCES[source])]


def _settlement(execution: Execution) -> Fields:
    fields: Fields = []
    if execution.settlement_type is not None:
        fields.append((63, execution.settlement_type))
    if execution.requested_settlement_date is not None:
        fields.append((64, _date(execution.requested_settlement_date)))
    if execution.accrued_interest_amount is not None:
        fields.append((159, _number(execution.accrued_interest_amount)))
    return fields


def _commission(execution: Execution) -> Fields:
    if execution.commission is None or execution.commission_type is None:
        return []
    fields: Fields = [(12, _number(execution.commission)), (13, _COMMISSION_TYPES[execution.commission_type])]
    if execution.commission_currency is not None:
        fields.append((479, execution.commission_currency))
    if execution.contract_multiplier is not None:
        fields.append((231, _number(execution.contract_multiplier)))
    return fields


def encode_allocation_instruction(
    instruction: AllocationInstruction,
    *,
    begin_string: str = "FIX.4.4",
    target: str = "POSTTRADE",
    sequence_number: int = 1,
    sending_time_us: int | None = None,
) -> bytes:
    """Write an AllocationInstruction (35=J) for FIX.4.2, FIX.4.4 or FIXT.1.1.

    `sending_time_us` is midnight UTC of the trade date unless given. ClOrdID (11), which the record does not carry,
    repeats the order id; AvgPx (6) is left out when the record has none. Raises ValueError when a text is empty or
    holds SOH.
    """
    midnight_us = (instruction.trade_date - _EPOCH).days * _DAY_SECONDS * _SECOND_US
    fields = _header("J", instruction.sender, target, sequence_number, begin_string)
    fields += [
        (52, _timestamp(midnight_us if sending_time_us is None else sending_time_us)),
        (70, instruction.instruction_id),
        (71, _ALLOCATION_TYPES[instruction.transaction_type]),
    ]
    if begin_string != "FIX.4.2":
        fields += [(626, "1"), (857, "1")]  # calculated by the sender; orders are listed
    if instruction.reference_id is not None:
        fields.append((72, instruction.reference_id))
    fields += [(73, "1"), (11, instruction.order_id), (37, instruction.order_id), (54, _SIDES[instruction.side])]
    fields += _instrument(instruction.security_id, instruction.security_id_source)
    fields += _executions(instruction)
    fields.append((53, _number(instruction.quantity)))
    if instruction.average_price is not None:
        fields.append((6, _number(instruction.average_price)))
    fields.append((75, _date(instruction.trade_date)))
    if instruction.total_allocations is not None:
        fields.append((892, str(instruction.total_allocations)))
    fields += _accounts(instruction)
    if instruction.last_fragment is not None:
        fields.append((893, "Y" if instruction.last_fragment else "N"))
    return frame(begin_string, fields)


def _executions(instruction: AllocationInstruction) -> Fields:
    if not instruction.executions:
        return []
    fields: Fields = [(124, str(len(instruction.executions)))]
    for one in instruction.executions:
        fields += [(32, _number(one.quantity)), (17, one.execution_id)]
        if one.price is not None:
            fields.append((31, _number(one.price)))
    return fields


def _accounts(instruction: AllocationInstruction) -> Fields:
    fields: Fields = [(78, str(len(instruction.allocations)))]
    for share in instruction.allocations:
        fields += [(79, share.account), (80, _number(share.quantity))]
        if share.individual_allocation_id is not None:
            fields.append((467, share.individual_allocation_id))
    return fields


def _number(value: Decimal) -> str:
    return format(value, "f")


def _date(day: date) -> str:
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def _timestamp(time_us: int) -> str:
    """UTCTimestamp with milliseconds, or microseconds where milliseconds would lose some."""
    seconds, micros = divmod(time_us, _SECOND_US)
    days, seconds = divmod(seconds, _DAY_SECONDS)
    day = _EPOCH + timedelta(days=days)
    fraction = f"{micros:06d}" if micros % 1000 else f"{micros // 1000:03d}"
    return f"{_date(day)}-{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction}"
