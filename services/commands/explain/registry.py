"""Every kind of question, in the order of the help. A new one is a module with a `KIND`, and a line here."""

from __future__ import annotations

from services.commands.explain import accrued, allocation, charges, identifier, match, settlement_date
from services.commands.explain.kind import Kind

KINDS: tuple[Kind, ...] = (
    settlement_date.KIND,
    charges.KIND,
    accrued.KIND,
    allocation.KIND,
    match.KIND,
    identifier.KIND,
)
