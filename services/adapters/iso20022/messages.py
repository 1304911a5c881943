"""The message of an instruction, whatever its function."""

from __future__ import annotations

from pathlib import Path

from services.adapters.iso20022.cancellation import cancellation_document
from services.adapters.iso20022.render import Sese023Renderer
from services.adapters.iso20022.schema import DERIVED_CANCELLATION_SCHEMA, MessageSchema
from services.domain.code import Function
from services.domain.event import SettlementInstruction


class MessageRenderer:
    """Renders instructions and cancellations; holds the compiled schemas, so make one and keep it."""

    def __init__(self, instruction_schema: Path | None = None, cancellation_schema: Path | None = None) -> None:
        """Compile the schemas: the operator's own official XSD where its path is given, else the derived one.

        Raises OSError or lxml.etree.XMLSchemaParseError when a schema cannot be used.
        """
        self._render_instruction = Sese023Renderer(instruction_schema).render
        self._cancellation_schema = MessageSchema(cancellation_schema or DERIVED_CANCELLATION_SCHEMA)

    def render(self, instruction: SettlementInstruction) -> str:
        """Give the whole XML document. Raises MessageInvalid, naming the element, if no valid message can say this."""
        if instruction.function is Function.NEW:
            return self._render_instruction(instruction)
        text = cancellation_document(instruction)
        self._cancellation_schema.check(text.encode())
        return text
