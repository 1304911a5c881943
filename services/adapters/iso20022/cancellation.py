"""Write sese.020.001.07, the request to cancel a settlement instruction.

It names the instruction by the reference it was sent under, with the movement and payment it had, and the account it is
held on. Nothing of its terms is repeated: the depository cancels what it holds under the reference, or refuses.
"""

from __future__ import annotations

from services.adapters.iso20022.render import text_of
from services.adapters.iso20022.schema import SESE_020_NAMESPACE
from services.domain.event import SettlementInstruction


def cancellation_document(instruction: SettlementInstruction) -> str:
    """The whole XML document. Raises MessageInvalid for text that cannot stand in a reference."""
    reference = text_of("AcctOwnrTxId/SctiesSttlmTxId/TxId", instruction.instruction_id)
    account = text_of("SfkpgAcct/Id", instruction.own_chain.safekeeping_account)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Document xmlns="{SESE_020_NAMESPACE}"><SctiesTxCxlReq>'
        f"<AcctOwnrTxId><SctiesSttlmTxId><TxId>{reference}</TxId>"
        f"<SctiesMvmntTp>{instruction.movement}</SctiesMvmntTp><Pmt>{instruction.payment}</Pmt>"
        "</SctiesSttlmTxId></AcctOwnrTxId>"
        f"<SfkpgAcct><Id>{account}</Id></SfkpgAcct>"
        "</SctiesTxCxlReq></Document>\n"
    )
