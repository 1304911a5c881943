"""Every kind of question, in the order of the help. A new one is a module with a `KIND`, and a line here."""

from __future__ import annotations

from services.commands.explain import allocation, charges, identifier, settlement_date
from services.commands.explain.kind import Kind

KINDS: tuple[Kind, ...] = (
    settlement_date.KIND,
    charges.KIND,
    allocation.KIND,
    identifier.KIND,
)
