"""The audit itself: every topic once, in the order of the pipeline; a hop is settled once its outputs are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from services.verification import allocated, captured, confirmed, enriched, instructed, names
from services.verification.block_rows import settle_blocks
from services.verification.cases import Cases
from services.verification.chains import Chains
from services.verification.ends import judge_counters, judge_ends, judge_lag
from services.verification.inputs import Inputs
from services.verification.interest import Interest
from services.verification.judge import V2, V7, V8, Judge
from services.verification.letters import Letters, place
from services.verification.model import Decode, Entry, Place, Report, World
from services.verification.plain import Plain
from services.verification.repairs import Repairs
from services.verification.rows import Columns, Rows
from services.verification.tolerance import Profiles


def verify(
    world: World, decode: Decode, *, since_ms: int | None = None, breaks_max: int = 20, is_cut: bool = False
) -> Report:
    """Judge the world by all ten invariants.

    With `since_ms` only inputs with that timestamp (milliseconds since the epoch) or a later one are judged; ids that
    came before still count as known. Of each invariant the first `breaks_max` breaks are told in words. `is_cut` says
    that the world has waited for the transactions that were open: one that still is hangs, whether work goes on or not.
    """
    return _Audit(world, decode, since_ms, breaks_max).run(is_cut=is_cut)


class _Audit:
    """One run; holds the tables of the hop that is being read and of the next."""

    def __init__(self, world: World, decode: Decode, since_ms: int | None, breaks_max: int) -> None:
        self._world = world
        self._decode = decode
        self._since_ms = since_ms
        self._judge = judge = Judge(breaks_max)
        self._letters = Letters(judge)
        self._cases = Cases(judge)
        self._letters.read(self._noted(names.DEAD_LETTERS))
        self._cases.read(self._noted(names.EXCEPTIONS), decode)
        judge.is_quiet = False
        self._repairs = Repairs(world, judge, self._letters)
        self._inputs = Inputs(world, decode, judge, self._letters, self._repairs, since_ms)
        self._chains = Chains(world, decode, judge)
        self._interest = Interest(world, decode, judge)
        self._produced: Counter[tuple[str, str]] = Counter()

    def run(self, *, is_cut: bool) -> Report:
        """All hops, then what concerns all of them."""
        # No name keeps a hop once it is settled: its tables are most of the memory.
        self._settle(self._confirm(self._allocate(*self._enrich(*self._capture()))))
        if self._since_ms is None:  # what an old one was about may have been removed
            self._cases.left_over()
            self._letters.left_over()
        for service, count in self._cases.written.items():
            self._produced[service, names.EXCEPTIONS] += count
        self._chains.settle()
        self._interest.settle()
        judge_ends(self._world, self._judge, is_cut=is_cut)
        judge_lag(self._world, self._judge, self._inputs.in_flight, self._inputs.read)
        judge_counters(self._world, self._judge, self._produced, self._cases.opened, self._letters.counts)
        self._judge.leave_out(V8, "this version writes no audit chain, so there is none to verify")
        return self._judge.report(self._inputs.waiting)

    # --- hops

    def _capture(self) -> tuple[enriched.Enriched, allocated.Allocated, confirmed.Confirmed]:
        judge, inputs = self._judge, self._inputs
        hop = captured.Captured(judge, self._cases)
        for topic in names.INPUTS[names.CAPTURE]:
            for given in inputs.of(names.CAPTURE, topic):
                if not given.is_buried:
                    hop.take_input(given)
        for given in inputs.replayed(names.CAPTURE):
            hop.take_input(given)
        enriched_hop = enriched.Enriched(judge, self._cases, self._chains, self._interest)
        allocated_hop = allocated.Allocated(judge, self._chains)
        confirmed_hop = confirmed.Confirmed(judge, self._cases, self._profiles())
        for topic, service, take_output, take_input in (
            (names.CAPTURED, names.ENRICHMENT, hop.take_trade, enriched_hop.take_trade),
            (names.REQUESTS, names.ALLOCATION, hop.take_request, allocated_hop.take_request),
            (names.RECEIVED, names.CONFIRMATION, hop.take_confirmation, confirmed_hop.take_confirmation),
        ):
            for given in inputs.of(service, topic):
                self._produced[names.CAPTURE, topic] += 1
                self._take_output(take_output, given.entry, given.record)
                if not given.is_buried:
                    take_input(given)
        for given in inputs.replayed(names.ENRICHMENT):
            enriched_hop.take_trade(given)
        hop.settle()
        self._compare(names.CAPTURE, captured.TABLES, hop.compare)
        self._note(names.CAPTURE, f"{hop.duplicates} repeated, {hop.ignored} without anything to book")
        return enriched_hop, allocated_hop, confirmed_hop

    def _enrich(
        self, hop: enriched.Enriched, allocated_hop: allocated.Allocated, confirmed_hop: confirmed.Confirmed
    ) -> tuple[allocated.Allocated, confirmed.Confirmed]:
        for given in self._inputs.of(names.ALLOCATION, names.ENRICHED):
            self._produced[names.ENRICHMENT, names.ENRICHED] += 1
            self._take_output(hop.take_output, given.entry, given.record)
            if not given.is_buried:
                allocated_hop.take_fill(given)
        for given in self._inputs.replayed(names.ALLOCATION):
            take = allocated_hop.take_fill if given.entry.topic == names.ENRICHED else allocated_hop.take_request
            take(given)
        self._compare(names.ENRICHMENT, enriched.TABLES, hop.settle)
        self._note(names.ENRICHMENT, f"{hop.waiting} waiting for reference data")
        return allocated_hop, confirmed_hop

    def _allocate(self, hop: allocated.Allocated, confirmed_hop: confirmed.Confirmed) -> confirmed.Confirmed:
        for given in self._inputs.of(names.CONFIRMATION, names.ALLOCATED):
            self._produced[names.ALLOCATION, names.ALLOCATED] += 1
            self._take_output(hop.take_share, given.entry, given.record)
            if not given.is_buried:
                confirmed_hop.take_allocation(given)
        for given in self._inputs.replayed(names.CONFIRMATION):
            ours = given.entry.topic == names.ALLOCATED
            (confirmed_hop.take_allocation if ours else confirmed_hop.take_confirmation)(given)
        policies = self._policies()

        def settle(rows: Rows) -> None:
            settle_blocks(hop, self._cases, rows, self._judge, policies)

        self._compare(names.ALLOCATION, allocated.TABLES, settle)
        self._note(names.ALLOCATION, f"{len(hop.blocks)} blocks, {hop.duplicates} repeated")
        return confirmed_hop

    def _confirm(self, hop: confirmed.Confirmed) -> instructed.Instructed:
        instructed_hop = instructed.Instructed(self._judge, self._cases)
        for given in self._inputs.of(names.SETTLEMENT, names.CONFIRMED):
            self._produced[names.CONFIRMATION, names.CONFIRMED] += 1
            self._take_output(hop.take_output, given.entry, given.record)
            if not given.is_buried:
                instructed_hop.take_trade(given)
        for entry, record in self._outputs(names.STATUS):
            self._produced[names.CONFIRMATION, names.STATUS] += 1
            self._take_output(hop.take_status, entry, record)
        for given in self._inputs.replayed(names.SETTLEMENT):
            instructed_hop.take_trade(given)
        self._compare(names.CONFIRMATION, confirmed.TABLES, hop.settle)
        self._note(names.CONFIRMATION, f"{hop.waiting} sides waiting for the other, {hop.duplicates} repeated")
        return instructed_hop

    def _settle(self, hop: instructed.Instructed) -> None:
        for topic, take in ((names.INSTRUCTIONS, hop.take_instruction), (names.MESSAGES, hop.take_message)):
            for entry, record in self._outputs(topic):
                self._produced[names.SETTLEMENT, topic] += 1
                self._take_output(take, entry, record)
        self._compare(names.SETTLEMENT, instructed.TABLES, hop.settle)
        self._note(names.SETTLEMENT, f"{hop.duplicates} repeated")

    # --- what they need

    def _take_output(self, take: Callable[[Entry, Plain], None], entry: Entry, record: Plain) -> None:
        """Judge an output, unless it is too old; it is known in any case."""
        self._judge.is_quiet = self._is_old(entry)
        take(entry, record)
        self._judge.is_quiet = False

    def _is_old(self, entry: Entry) -> bool:
        return self._since_ms is not None and entry.timestamp_ms < self._since_ms

    def _outputs(self, topic: str) -> Iterator[tuple[Entry, Plain]]:
        for entry in self._world.entries(topic):
            record = self._decode(topic, entry.value)
            if self._judge.check(V2, record is not None, place(entry), "cannot be read"):
                assert record is not None
                yield entry, record

    def _noted(self, topic: str) -> Iterator[Entry]:
        """The records of a topic; those that are too old are known and not judged."""
        for entry in self._world.entries(topic):
            self._judge.is_quiet = self._is_old(entry)
            yield entry

    def _compare(self, service: str, tables: Mapping[str, Columns], compare: Callable[[Rows], None]) -> None:
        rows = Rows(service, self._judge, tables)
        rows.read(self._world.entries(names.state_of(service)))
        compare(rows)
        if self._since_ms is None:
            rows.left_over()
        rows.judge_progress(self._inputs.committed(service), self._ends_of(service), settled=self._world.settled)
        rows.judge_queues()
        self._repairs.compare(service, rows.parked)

    def _ends_of(self, service: str) -> Mapping[Place, int]:
        """Where the inputs of a service end, repairs among them."""
        topics = {*names.INPUTS[service], names.repairs_of(service)} & set(self._world.topics())
        return {(topic, number): end for topic in topics for number, end in self._world.high_watermarks(topic).items()}

    def _policies(self) -> Mapping[str, set[str]] | None:
        """Every allocation policy that reference data ever gave an account; None without reference data."""
        if names.ACCOUNTS not in set(self._world.topics()):
            return None
        policies: dict[str, set[str]] = {}
        entries: Iterable[Entry] = self._world.entries(names.ACCOUNTS)
        for entry in entries:
            record = None if entry.value is None else self._decode(names.ACCOUNTS, entry.value)
            if record is not None:
                policies.setdefault(record["account"], set()).add(record["allocation_policy"])
        return policies

    def _profiles(self) -> Profiles | None:
        """Every row that a matching profile ever had; None without reference data."""
        if names.PROFILES not in set(self._world.topics()):
            return None
        entries = self._world.entries(names.PROFILES)
        records = (self._decode(names.PROFILES, entry.value) for entry in entries if entry.value is not None)
        return Profiles(record for record in records if record is not None)

    def _note(self, service: str, what: str) -> None:
        inputs = self._inputs
        self._judge.note(V7, f"{service} read {inputs.read[service]}, put aside {inputs.buried[service]}, {what}")
