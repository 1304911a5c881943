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


_Lineage = tuple[str, str, int]


def _lineage(given: GivenShare) -> _Lineage:
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

    def _give(self, block: Block, shares: Sequence[GivenShare], before: Standing | None) -> Block:
        """Publish the shares of a division; `before` is what stood until it was made anew."""
        if before is None and not shares:
            return block
        composition = self._composition(block) if shares else None
        if before is not None:
            kept = self._kept_shares(block, shares, composition, before)
            taken = [given for given in before.shares if _lineage(given) not in kept]
            for given in taken:
                self._take_back(given, before)
            version = before.block.version + bool(taken)
            block = replace(block, version=version, newest_share=None)
            shares = [kept.get(_lineage(given)) or _in_version(given, version) for given in shares]
        for given in shares:
            block = self._link(block, given)
            if given.chain is None and self._state.get(WaitingShare, given.share.allocation_id) is None:
                assert composition is not None
                self._release(given.share.allocation_id, block, composition)
        return block

    def _link(self, block: Block, given: GivenShare) -> Block:
        allocation_id = given.share.allocation_id
        self._state.put(allocation_id, replace(given, previous=block.newest_share))
        return replace(block, newest_share=allocation_id)

    def _kept_shares(
        self,
        block: Block,
        shares: Sequence[GivenShare],
        composition: division.Composition | None,
        before: Standing,
    ) -> dict[_Lineage, GivenShare]:
        """The standing shares that come out as they were; one that waits has published nothing that could differ."""
        stood = {_lineage(given): given for given in before.shares}
        kept = {}
        for given in shares:
            old = stood.get(_lineage(given))
            if old is None or composition is None or block.terms is None:
                continue
            again = replace(old, share=replace(given.share, allocation_id=old.share.allocation_id))
            if old.chain is None:
                is_same = again == old
            else:
                now = Standing(block, block.terms, composition, ())
                is_same = now.trade_of(again, old.chain) == before.trade_of(old, old.chain)
            if is_same:
                kept[_lineage(given)] = old
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

    def _release(self, allocation_id: str, block: Block, composition: division.Composition) -> None:
        """Publish a share if its account can settle it; otherwise let it wait, under one exception that says why."""
        given, terms = self._state.get(GivenShare, allocation_id), block.terms
        assert given is not None, f"share {allocation_id} was listed as given"
        assert terms is not None, "a block that has shares has fills, and these gave it terms"
        found = division.find_account_chain(given.share, block=block, terms=terms, reference=self._state.reference)
        waiting = self._state.get(WaitingShare, allocation_id)
        missing = found if type(found) is Refusal else None
        before = waiting.reason if waiting else None
        self._exchange(before, missing, subject=allocation_id, order_id=block.order_id)
        if missing is not None:
            if missing.reason is not before:
                self._state.put(allocation_id, WaitingShare(reason=missing.reason, share=given.share))
            return
        assert type(found) is SettlementChain
        if waiting is not None:
            self._state.delete(WaitingShare, allocation_id)
        self._state.put(allocation_id, replace(given, chain=found))
        trade = division.allocated_trade(given, block=block, terms=terms, composition=composition, chain=found)
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=trade.match_key, event=trade))

    def retry_share(self, allocation_id: str) -> None:
        """Try to publish a share that waited, with the cash it was given."""
        waiting = self._state.get(WaitingShare, allocation_id)
        assert waiting is not None, f"share {allocation_id} was listed as waiting"
        block = self._remembered(waiting.share.block_id)
        self._release(allocation_id, block, self._composition(block))


def given_shares(source: str, shares: Sequence[Share], ordinals: Sequence[int], version: int) -> list[GivenShare]:
    """Shares of one instruction or template that are about to be given."""
    return [
        GivenShare(share=share, source=source, ordinal=ordinal, version=version, chain=None, previous=None)
        for share, ordinal in zip(shares, ordinals, strict=True)
    ]


def _in_version(given: GivenShare, version: int) -> GivenShare:
    """The same share under the id of another version."""
    if given.version == version:
        return given
    share = given.share
    allocation_id = identity.allocation_id(
        block=share.block_id, instruction=given.source, account=share.account, ordinal=given.ordinal, version=version
    )
    return replace(given, version=version, share=replace(share, allocation_id=allocation_id))
