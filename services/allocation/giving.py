"""What a block gives away: shares are published, or wait for data; what no longer holds is taken back.

A division that is made again is compared with what stands. A share that comes out as it was stays; every other one is
taken back by an event of its own, and its successor has the block's next version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.allocation import division
from services.allocation.desk import OUTPUT_TOPIC, Desk
from services.allocation.rules import Refusal
from services.allocation.state import Block, FillStatus, GivenShare, Share, Terms, WaitingShare
from services.domain import identity
from services.domain.code import Function
from services.domain.event import AllocatedTrade, SettlementChain
from services.domain.exceptions import value_of_amount
from services.domain.record import replace
from services.stage import Publish


class Standing(NamedTuple):
    """A block as it was divided, before something of it is changed."""

    block: Block
    terms: Terms
    composition: division.Composition
    shares: tuple[GivenShare, ...]

    def trade_of(self, given: GivenShare, chain: SettlementChain) -> AllocatedTrade:
        """A share as it was published."""
        return division.allocated_trade(
            given, block=self.block, terms=self.terms, composition=self.composition, chain=chain
        )


class Planned(NamedTuple):
    """A share of a division, under the id it has if nothing is taken back."""

    share: Share
    source: str
    ordinal: int


_Lineage = tuple[str, str, int]


def _lineage(given: GivenShare | Planned) -> _Lineage:
    """What two versions of a share have in common."""
    return given.source, given.share.account, given.ordinal


class GivingDesk(Desk):
    """A desk that gives shares away and takes them back."""

    def _standing(self, block: Block) -> Standing | None:
        """What stands of the block; None if nothing was given away. To be asked before a fill is changed."""
        if block.newest_share is None:
            return None
        assert block.terms is not None, "a block that has shares has fills, and these gave it terms"
        shares = tuple(given for _, given in self._shares(block))
        return Standing(block, block.terms, self._composition(block), shares[::-1])

    def _shares(self, block: Block) -> Iterator[tuple[str, GivenShare]]:
        """The shares that stand, newest first."""
        allocation_id = block.newest_share
        while allocation_id is not None:
            given = self._state.get(GivenShare, allocation_id)
            assert given is not None, f"share {allocation_id} is linked but not remembered"
            yield allocation_id, given
            allocation_id = given.previous

    def _composition(self, block: Block) -> division.Composition:
        live = [(trade_id, fill) for trade_id, fill in self._fills(block) if fill.status is FillStatus.LIVE]
        return division.composition_of(block, live)

    def _give(self, block: Block, shares: Sequence[Planned], before: Standing | None) -> Block:
        """Publish the shares of a division; `before` is what stood until it was made anew."""
        if before is not None:
            return self._give_anew(block, shares, before)
        if not shares:
            return block
        composition, newest = self._composition(block), block.newest_share
        for planned in shares:
            self._give_one(planned, block, composition, previous=newest)
            newest = planned.share.allocation_id
        return replace(block, newest_share=newest)

    def _give_one(
        self, planned: Planned, block: Block, composition: division.Composition, *, previous: str | None
    ) -> None:
        """Publish a share for the first time, or let it wait, under an exception that says why."""
        share, terms = planned.share, block.terms
        assert terms is not None, "a block that has shares has fills, and these gave it terms"
        found = division.find_account_chain(share, block=block, terms=terms, reference=self._state.reference)
        chain = found if type(found) is SettlementChain else None
        given = GivenShare(
            share=share,
            source=planned.source,
            ordinal=planned.ordinal,
            version=block.version,
            chain=chain,
            previous=previous,
        )
        self._state.put(share.allocation_id, given)
        if chain is None:
            assert type(found) is Refusal
            value = value_of_amount(share.net_amount, terms.currency)
            self._open(found, subject=share.allocation_id, order_id=block.order_id, value=value)
            self._state.put(share.allocation_id, WaitingShare(reason=found.reason, share=share))
            return
        trade = division.allocated_trade(given, block=block, terms=terms, composition=composition, chain=chain)
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=trade.match_key, event=trade))

    def _give_anew(self, block: Block, shares: Sequence[Planned], before: Standing) -> Block:
        """Keep what comes out as it was, take the rest back, and publish what takes its place."""
        composition = self._composition(block) if shares else None
        kept = {} if composition is None else self._kept_shares(block, shares, composition, before)
        taken = [given for given in before.shares if _lineage(given) not in kept]
        for given in taken:
            self._take_back(given, before)
        block = replace(block, version=before.block.version + bool(taken), newest_share=None)
        for planned in shares:
            previous, old = block.newest_share, kept.get(_lineage(planned))
            if old is None:
                assert composition is not None
                anew = _in_version(planned, block.version)
                self._give_one(anew, block, composition, previous=previous)
                newest = anew.share.allocation_id
            else:
                newest = old.share.allocation_id
                if old.previous != previous:
                    self._state.put(newest, replace(old, previous=previous))
            block = replace(block, newest_share=newest)
        return block

    def _kept_shares(
        self, block: Block, shares: Sequence[Planned], composition: division.Composition, before: Standing
    ) -> dict[_Lineage, GivenShare]:
        """The standing shares that come out as they were; one that waits has published nothing that could differ."""
        assert block.terms is not None, "a block that is divided has fills, and these gave it terms"
        now = Standing(block, block.terms, composition, ())
        stood = {_lineage(given): given for given in before.shares}
        kept = {}
        for planned in shares:
            old = stood.get(_lineage(planned))
            if old is None:
                continue
            again = replace(old, share=replace(planned.share, allocation_id=old.share.allocation_id))
            is_same = (
                again == old if old.chain is None else now.trade_of(again, old.chain) == before.trade_of(old, old.chain)
            )
            if is_same:
                kept[_lineage(planned)] = old
        return kept

    def _take_back(self, given: GivenShare, before: Standing) -> None:
        allocation_id = given.share.allocation_id
        self._state.delete(GivenShare, allocation_id)
        waiting = self._state.get(WaitingShare, allocation_id)
        if waiting is not None:
            self._state.delete(WaitingShare, allocation_id)
            self._close(waiting.reason, subject=allocation_id, order_id=before.block.order_id)
            return
        assert given.chain is not None, f"share {allocation_id} is neither published nor waiting"
        trade = replace(before.trade_of(given, given.chain), function=Function.CANCEL)
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=trade.match_key, event=trade))

    def retry_share(self, allocation_id: str) -> None:
        """Try to publish a share that waited, with the cash it was given."""
        waiting = self._state.get(WaitingShare, allocation_id)
        assert waiting is not None, f"share {allocation_id} was listed as waiting"
        remembered = self._state.get(GivenShare, allocation_id)
        given = remembered or _of_earlier_release(waiting.share)
        block = self._remembered(waiting.share.block_id)
        terms = block.terms
        assert terms is not None, "a block that has shares has fills, and these gave it terms"
        found = division.find_account_chain(given.share, block=block, terms=terms, reference=self._state.reference)
        missing = found if type(found) is Refusal else None
        value = value_of_amount(given.share.net_amount, terms.currency)
        self._exchange(waiting.reason, missing, subject=allocation_id, order_id=block.order_id, value=value)
        if missing is not None:
            if missing.reason is not waiting.reason:
                self._state.put(allocation_id, WaitingShare(reason=missing.reason, share=given.share))
            return
        assert type(found) is SettlementChain
        self._state.delete(WaitingShare, allocation_id)
        if remembered is not None:
            self._state.put(allocation_id, replace(remembered, chain=found))
        composition = self._composition(block)
        trade = division.allocated_trade(given, block=block, terms=terms, composition=composition, chain=found)
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=trade.match_key, event=trade))


def _of_earlier_release(share: Share) -> GivenShare:
    """A share that waits since before shares were remembered; its block stays as it is."""
    return GivenShare(share=share, source="", ordinal=0, version=1, chain=None, previous=None)


def _in_version(planned: Planned, version: int) -> Planned:
    """The same share under the id of a version."""
    share = planned.share
    allocation_id = identity.allocation_id(
        block=share.block_id,
        instruction=planned.source,
        account=share.account,
        ordinal=planned.ordinal,
        version=version,
    )
    return planned._replace(share=replace(share, allocation_id=allocation_id))
