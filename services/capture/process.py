"""The stage: recognise, check, remember, publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from services.capture import fragments, rules
from services.capture import waiting as waits
from services.capture.rules import Refusal
from services.capture.state import (
    REFUSED_CONTENTS_MAX,
    AwaitedReport,
    FragmentedInstruction,
    RefusedMessage,
    SeenExecution,
    SeenMessage,
    WaitingReport,
    confirmation_fingerprint,
    confirmation_subject,
    execution_fingerprint,
    execution_subject,
    instruction_fingerprint,
    instruction_subject,
)
from services.domain import checks, identity
from services.domain.code import ExceptionStatus, ExecutionType
from services.domain.event import (
    AllocationInstruction,
    CapturedTrade,
    CounterpartyConfirmation,
    Execution,
    IgnoredMessage,
    ReceivedConfirmation,
)
from services.domain.exceptions import About, ValueAtRisk, exception_event, value_of_amount, value_of_report
from services.domain.reason import Reason
from services.domain.record import Record, doc
from services.stage import Outcome, Publish, Received, State, Suppress

SERVICE = "capture"

TRADES_CAPTURED = "trades.captured"
ALLOCATION_REQUESTS = "trades.allocation-requests"
CONFIRMATIONS_RECEIVED = "confirmations.received"
EXCEPTIONS = "exceptions"

_DUPLICATE = Suppress(cause="duplicate")
_SUPERSEDED = Suppress(cause="superseded")
_FRAGMENT = Suppress(cause="fragment")
_NOT_AN_EXECUTION = Suppress(cause="not_an_execution")


class Submission(Record, kw_only=True):
    """What refusals and closings need to know of a message, whatever its kind."""

    subject_id: Annotated[str, doc("Key under which the message is remembered, and subject of its exceptions.")]
    fingerprint: Annotated[str, doc("Fingerprint of its content.")]
    title: Annotated[str, doc("How the exception's sentence begins: kind, sender's id and sender.")]
    order_id: Annotated[str | None, doc("Order concerned, when there is one.")]
    details: Annotated[dict[str, str], doc("What every exception about the message says of it.")]
    value: Annotated[ValueAtRisk | None, doc("What does not settle while it is refused.")] = None


class CaptureStage:
    """Capture as the engine runs it; the contract is the package's docstring."""

    name = SERVICE
    state_types: tuple[type[Record], ...] = (
        SeenExecution, SeenMessage, RefusedMessage, WaitingReport, AwaitedReport, FragmentedInstruction,
    )  # fmt: skip
    suppress_causes: tuple[str, ...] = (_DUPLICATE.cause, _SUPERSEDED.cause, _FRAGMENT.cause, _NOT_AN_EXECUTION.cause)

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Turn each message into a trade, a request, a confirmation, an exception, or a counted suppression."""
        outcomes: list[Outcome] = []
        for received in batch:
            outcomes += _capture(received, state, now_us)
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Nothing falls due here."""
        return []


def _capture(received: Received, state: State, now_us: int) -> list[Outcome]:
    event = received.event
    if type(event) is Execution:  # isinstance of a struct goes through ABCMeta: ten times slower
        return _capture_execution(received, event, state, now_us)
    if type(event) is AllocationInstruction:
        return _capture_instruction(received, event, state, now_us)
    if type(event) is CounterpartyConfirmation:
        return _capture_confirmation(received, event, state, now_us)
    if type(event) is IgnoredMessage:
        return [_NOT_AN_EXECUTION]
    raise TypeError(f"capture was given a {type(event).__name__}")


# --- executions ------------------------------------------------------------------------------------------------------


def _capture_execution(received: Received, execution: Execution, state: State, now_us: int) -> list[Outcome]:
    subject_id = execution_subject(execution)
    fingerprint = execution_fingerprint(execution)
    seen = state.get(SeenExecution, subject_id)
    if seen is not None and seen.fingerprint == fingerprint:
        return [_DUPLICATE]
    refusal = rules.refusal_of_execution(execution, key=received.key)
    if refusal is None and seen is not None:
        refusal = rules.conflict(Reason.EXECUTION_CONFLICTS)
    if refusal is not None:
        return _refuse(_execution_submission(execution, subject_id, fingerprint), refusal, state, now_us)
    if execution.execution_type is not ExecutionType.TRADE:
        report = WaitingReport(execution=execution, fingerprint=fingerprint, received_at_us=received.timestamp_us)
        outcomes = _capture_change(report, subject_id, state, now_us)
    else:
        booked = SeenExecution(
            fingerprint=fingerprint,
            trade_id=subject_id,
            order_id=execution.order_id,
            version=1,
            is_cancelled=False,
        )
        state.put(subject_id, booked)
        outcomes = [_published(execution, booked, received.timestamp_us)]
        outcomes += _close_about_execution(execution, subject_id, booked, state, now_us)
    if state.get(AwaitedReport, subject_id) is not None and state.get(SeenExecution, subject_id) is not None:
        outcomes += _release(subject_id, state, now_us)
    return outcomes


def _capture_change(report: WaitingReport, subject_id: str, state: State, now_us: int) -> list[Outcome]:
    """Apply a correction or cancellation, or let it wait for the report it names under an exception that says so."""
    execution = report.execution
    submission = _execution_submission(execution, subject_id, report.fingerprint)
    waiting = state.get(WaitingReport, subject_id)
    if waiting is not None and waiting.fingerprint != report.fingerprint:
        return _refuse(submission, rules.conflict(Reason.EXECUTION_CONFLICTS), state, now_us)
    named = waits.named_subject(execution)
    if waiting is None and named != subject_id and state.get(SeenExecution, named) is None:
        waits.wait(report, subject_id, state)
    outcomes, refusal = _apply_change(report, subject_id, state, now_us)
    return outcomes if refusal is None else _refuse(submission, refusal, state, now_us)


def _apply_change(
    report: WaitingReport, subject_id: str, state: State, now_us: int
) -> tuple[list[Outcome], Refusal | None]:
    """The trade's next version, or nothing when a later change stands, or why it cannot be applied."""
    execution, named_id = report.execution, waits.named_subject(report.execution)
    named = state.get(SeenExecution, named_id)
    trade = None if named is None else state.get(SeenExecution, named.trade_id)
    if named is None or trade is None or trade.order_id != execution.order_id:
        return [], rules.refusal_of_reference(execution, trade)
    effective_us = waits.effective_time_us(execution, named, is_first=named.trade_id == named_id)
    is_late = waits.is_superseded(execution, trade, effective_us)
    refusal = None if is_late else rules.refusal_of_reference(execution, trade)
    if refusal is not None:
        return [], refusal
    booked = SeenExecution(
        fingerprint=report.fingerprint,
        trade_id=trade.trade_id,
        order_id=execution.order_id,
        version=0 if is_late else trade.version + 1,
        is_cancelled=execution.execution_type is ExecutionType.TRADE_CANCEL,
        effective_time_us=effective_us,
    )
    state.put(subject_id, booked)
    if is_late:
        return [_SUPERSEDED, *_close_about_execution(execution, subject_id, booked, state, now_us)], None
    changed = msgspec.structs.replace(
        trade,
        version=booked.version,
        is_cancelled=booked.is_cancelled,
        effective_time_us=max(effective_us, trade.effective_time_us),
    )
    state.put(trade.trade_id, changed)
    closings = _close_about_execution(execution, subject_id, booked, state, now_us)
    return [_published(execution, booked, report.received_at_us), *closings], None


def _release(subject_id: str, state: State, now_us: int) -> list[Outcome]:
    """Apply what waited for a report, and what waited for that, link by link."""
    outcomes: list[Outcome] = []
    arrived = [subject_id]
    while arrived:
        for waiting_id, report in waits.released(arrived.pop(), state):
            done, refusal = _still_new(report, waiting_id, state, now_us)
            if refusal is None:
                arrived.append(waiting_id)
            else:
                done = _refuse_instead(report, waiting_id, refusal, state, now_us)
            outcomes += done
    return outcomes


def _still_new(
    report: WaitingReport, subject_id: str, state: State, now_us: int
) -> tuple[list[Outcome], Refusal | None]:
    if state.get(SeenExecution, subject_id) is not None:  # a first report took the id while this one waited
        return [], rules.conflict(Reason.EXECUTION_CONFLICTS)
    return _apply_change(report, subject_id, state, now_us)


def _refuse_instead(
    report: WaitingReport, subject_id: str, refusal: Refusal, state: State, now_us: int
) -> list[Outcome]:
    """What waited is refused for what is known now; the exception that said that it waits is closed."""
    submission = _execution_submission(report.execution, subject_id, report.fingerprint)
    outcomes: list[Outcome] = []
    if refusal.reason is not Reason.EXECUTION_REFERENCE_UNKNOWN:
        outcomes = _close(submission, "the report it names has come", state, now_us)
    remembered = state.get(RefusedMessage, subject_id)
    assert remembered is not None, f"report {subject_id} waited without an exception"
    reasons = (refusal.reason.value,) if refusal.reason.value not in remembered.open_reasons else ()
    state.put(subject_id, msgspec.structs.replace(remembered, open_reasons=(*remembered.open_reasons, *reasons)))
    return [*outcomes, _exception(submission, refusal, ExceptionStatus.OPEN, now_us)]


def _published(execution: Execution, booked: SeenExecution, received_at_us: int) -> Publish:
    trade = CapturedTrade(
        **msgspec.structs.asdict(execution),
        trade_id=booked.trade_id,
        version=booked.version,
        received_at_us=received_at_us,
    )
    return Publish(topic=TRADES_CAPTURED, key=execution.order_id, event=trade)


def _execution_submission(execution: Execution, subject_id: str, fingerprint: str) -> Submission:
    details = {
        "sender": rules.shown(execution.sender),
        "execution_id": rules.shown(execution.execution_id),
        "trade_date": execution.trade_date.isoformat(),
        "side": execution.side.value,
    }
    title = f"Execution {details['execution_id']} of {details['sender']}"
    return _submission(subject_id, fingerprint, title, execution.order_id, details, value_of_report(execution))


def _close_about_execution(
    execution: Execution, subject_id: str, booked: SeenExecution, state: State, now_us: int
) -> list[Outcome]:
    """Close what was open about the report, and about the one it corrects or cancels: now it is clear what holds."""
    subjects = [subject_id]
    if execution.execution_type is not ExecutionType.TRADE:
        subjects.append(waits.named_subject(execution))
    closings: list[Outcome] = []
    for subject in subjects:
        if state.get(RefusedMessage, subject) is not None:
            made = f"captured as trade {booked.trade_id} in version {booked.version}"
            outcome = made if booked.version else f"a later change of trade {booked.trade_id} stands"
            about = _execution_submission(execution, subject, booked.fingerprint)
            closings += _close(about, outcome, state, now_us)
    return closings


# --- allocation instructions and confirmations -----------------------------------------------------------------------


def _capture_instruction(
    received: Received, instruction: AllocationInstruction, state: State, now_us: int
) -> list[Outcome]:
    subject_id = instruction_subject(instruction)
    fingerprint = instruction_fingerprint(instruction)
    seen = state.get(SeenMessage, subject_id)
    if seen is not None and seen.fingerprint == fingerprint:
        return [_DUPLICATE]
    if fragments.is_fragment(instruction):
        return _capture_fragment(received, instruction, subject_id, fingerprint, state, now_us)
    refusal = rules.refusal_of_instruction(instruction, key=received.key)
    if refusal is None and (seen is not None or state.get(FragmentedInstruction, subject_id) is not None):
        refusal = rules.conflict(Reason.ALLOCATION_CONFLICTS)
    if refusal is not None:
        about = _instruction_submission(instruction, subject_id, fingerprint)
        return _refuse(about, rules.with_reject_code(refusal), state, now_us)
    return _accept_instruction(instruction, subject_id, fingerprint, state, now_us)


def _capture_fragment(
    received: Received,
    fragment: AllocationInstruction,
    subject_id: str,
    fingerprint: str,
    state: State,
    now_us: int,
) -> list[Outcome]:
    """Hold a fragment until the accounts of all are there, under an exception that says so."""
    held = state.get(FragmentedInstruction, subject_id)
    if held is not None and fingerprint in held.fingerprints:
        return [_DUPLICATE]
    submission = _instruction_submission(fragment, subject_id, fingerprint)
    common = fragments.common_content(fragment)
    refusal = rules.refusal_of_part(fragment, key=received.key)
    if refusal is None and (state.get(SeenMessage, subject_id) is not None or (held and held.common != common)):
        refusal = rules.conflict(Reason.ALLOCATION_CONFLICTS)
    refusal = refusal or fragments.refusal_of_fragment(fragment, held)
    if refusal is not None:
        return _refuse(submission, rules.with_reject_code(refusal), state, now_us)
    before = () if held is None else held.allocations
    allocations = (*before, *fragment.allocations)
    fingerprints = (*(() if held is None else held.fingerprints), fingerprint)
    if len(allocations) != fragment.total_allocations:
        row = FragmentedInstruction(common=common, allocations=allocations, fingerprints=fingerprints)
        state.put(subject_id, row)
        if held is not None:
            return [_FRAGMENT]
        return _refuse(submission, fragments.incomplete(fragment, len(allocations)), state, now_us)
    state.put(subject_id, FragmentedInstruction(common=None, allocations=(), fingerprints=fingerprints))
    whole = fragments.joined(fragment, before)
    refusal = rules.refusal_of_instruction(whole, key=received.key)
    whole_fingerprint = instruction_fingerprint(whole)
    if refusal is None:
        return _accept_instruction(whole, subject_id, whole_fingerprint, state, now_us)
    about = _instruction_submission(whole, subject_id, whole_fingerprint)
    return [
        *_close(about, "all fragments came", state, now_us),
        *_refuse(about, rules.with_reject_code(refusal), state, now_us),
    ]


def _accept_instruction(
    instruction: AllocationInstruction, subject_id: str, fingerprint: str, state: State, now_us: int
) -> list[Outcome]:
    state.put(subject_id, SeenMessage(fingerprint=fingerprint))
    published = Publish(topic=ALLOCATION_REQUESTS, key=instruction.order_id, event=instruction)
    if state.get(RefusedMessage, subject_id) is None:
        return [published]
    about = _instruction_submission(instruction, subject_id, fingerprint)
    return [published, *_close(about, "accepted", state, now_us)]


def _instruction_submission(instruction: AllocationInstruction, subject_id: str, fingerprint: str) -> Submission:
    details = {"sender": rules.shown(instruction.sender), "instruction_id": rules.shown(instruction.instruction_id)}
    title = f"Allocation {details['instruction_id']} of {details['sender']}"
    return _submission(subject_id, fingerprint, title, instruction.order_id, details)


def _capture_confirmation(
    received: Received, confirmation: CounterpartyConfirmation, state: State, now_us: int
) -> list[Outcome]:
    subject_id = confirmation_subject(confirmation)
    fingerprint = confirmation_fingerprint(confirmation)
    seen = state.get(SeenMessage, subject_id)
    if seen is not None and seen.fingerprint == fingerprint:
        return [_DUPLICATE]
    refusal = rules.refusal_of_confirmation(confirmation, key=received.key)
    if refusal is None and seen is not None:
        refusal = rules.conflict(Reason.CONFIRMATION_CONFLICTS)
    if refusal is not None:
        return _refuse(_confirmation_submission(confirmation, subject_id, fingerprint), refusal, state, now_us)
    state.put(subject_id, SeenMessage(fingerprint=fingerprint))
    event = _received_confirmation(confirmation, received)
    published = Publish(topic=CONFIRMATIONS_RECEIVED, key=event.match_key, event=event)
    if state.get(RefusedMessage, subject_id) is None:
        return [published]
    about = _confirmation_submission(confirmation, subject_id, fingerprint)
    return [published, *_close(about, "accepted", state, now_us)]


def _confirmation_submission(confirmation: CounterpartyConfirmation, subject_id: str, fingerprint: str) -> Submission:
    details = {"sender": rules.shown(confirmation.sender), "confirmation_id": rules.shown(confirmation.confirmation_id)}
    title = f"Confirmation {details['confirmation_id']} of {details['sender']}"
    value = value_of_amount(confirmation.net_amount, confirmation.currency)
    return _submission(subject_id, fingerprint, title, None, details, value)


def _received_confirmation(confirmation: CounterpartyConfirmation, received: Received) -> ReceivedConfirmation:
    match_key = identity.match_key(
        counterparty=confirmation.sender,
        account=confirmation.account,
        isin=confirmation.isin,
        side=confirmation.side.opposite,  # the counterparty's sale is our purchase
        trade_date=confirmation.trade_date,
    )
    return ReceivedConfirmation(
        **msgspec.structs.asdict(confirmation), match_key=match_key, received_at_us=received.timestamp_us
    )


# --- refusing and closing --------------------------------------------------------------------------------------------


def _submission(
    subject_id: str,
    fingerprint: str,
    title: str,
    order_id: str | None,
    details: dict[str, str],
    value: ValueAtRisk | None = None,
) -> Submission:
    known = order_id if order_id is not None and checks.is_identifier(order_id) else None
    return Submission(
        subject_id=subject_id, fingerprint=fingerprint, title=title, order_id=known, details=details, value=value
    )


def _refuse(submission: Submission, refusal: Refusal, state: State, now_us: int) -> list[Outcome]:
    """Raise the exception once per content; the same refused content again is a duplicate."""
    remembered = state.get(RefusedMessage, submission.subject_id) or RefusedMessage(fingerprints=(), open_reasons=())
    if submission.fingerprint in remembered.fingerprints:
        return [_DUPLICATE]
    reasons = remembered.open_reasons
    row = RefusedMessage(
        fingerprints=(*remembered.fingerprints, submission.fingerprint)[-REFUSED_CONTENTS_MAX:],
        open_reasons=reasons if refusal.reason.value in reasons else (*reasons, refusal.reason.value),
    )
    state.put(submission.subject_id, row)
    return [_exception(submission, refusal, ExceptionStatus.OPEN, now_us)]


def _close(submission: Submission, outcome: str, state: State, now_us: int) -> list[Outcome]:
    """Close every exception that is open about the subject; what was refused stays known as a duplicate."""
    remembered = state.get(RefusedMessage, submission.subject_id)
    if remembered is None or not remembered.open_reasons:
        return []
    state.put(submission.subject_id, msgspec.structs.replace(remembered, open_reasons=()))
    gone = (Refusal(reason=Reason[reason], finding=outcome, details={}) for reason in remembered.open_reasons)
    return [_exception(submission, refusal, ExceptionStatus.CLOSED, now_us) for refusal in gone]


def _exception(submission: Submission, refusal: Refusal, status: ExceptionStatus, now_us: int) -> Publish:
    event = exception_event(
        service=SERVICE,
        reason=refusal.reason,
        status=status,
        about=About(submission.subject_id, submission.order_id, submission.value),
        message=f"{submission.title}: {refusal.finding}.",
        details=submission.details | refusal.details,
        now_us=now_us,
    )
    return Publish(topic=EXCEPTIONS, key=event.exception_id, event=event)
