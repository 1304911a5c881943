"""Validation against a compiled XML schema, with errors a person can act on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lxml import etree

from services.domain.errors import MessageInvalid

SESE_020_NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:sese.020.001.07"
SESE_023_NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:sese.023.001.11"
_SCHEMAS = Path(__file__).resolve().parents[3] / "schemas" / "iso20022"
DERIVED_SCHEMA = _SCHEMAS / "sese.023.001.11.xsd"
DERIVED_CANCELLATION_SCHEMA = _SCHEMAS / "sese.020.001.07.xsd"

# libxml2 says "Element '{namespace}Name': [facet 'maxLength'] The value ..."; the desk needs only the last part.
_LIBXML2_PREFIX = re.compile(r"Element '[^']*'(?:, attribute '(?P<attribute>[^']*)')?: (?:\[facet '[^']*'\] )?")
_IN_NAMESPACE = re.compile(r"\{urn:[^}]*\}")


def safe_parser() -> etree.XMLParser:
    """Make a parser that loads nothing from outside and expands no entities."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


class MessageSchema:
    """A schema, compiled once."""

    def __init__(self, path: Path) -> None:
        """Compile the schema in the file. Raises OSError if it cannot be read, XMLSchemaParseError if it is none."""
        self._schema = etree.XMLSchema(etree.parse(str(path)))
        self._parser = safe_parser()

    def check(self, document: bytes) -> None:
        """Raise MessageInvalid, naming the first offending element, unless the document obeys the schema."""
        try:
            root = etree.fromstring(document, self._parser)
        except etree.XMLSyntaxError as error:
            raise MessageInvalid(element="Document", found=str(error), expected="well-formed XML") from error
        if not self._schema.validate(root):
            raise self._explain(root)

    def _explain(self, root: etree._Element) -> MessageInvalid:
        log: Any = self._schema.error_log  # the stubs do not know that it is a sequence
        first = log[0]
        nodes: Any = root.xpath(first.path)  # the path that the validator reports always names one element
        node = nodes[0]
        prefix = _LIBXML2_PREFIX.match(first.message)
        attribute = prefix and prefix["attribute"]
        element, found = element_path(node), node.text
        if attribute:
            element, found = f"{element}/@{attribute}", node.get(attribute)
        expected = first.message[prefix.end() :] if prefix else first.message
        return MessageInvalid(element=element, found=found or "", expected=_IN_NAMESPACE.sub("", expected))


def element_path(node: etree._Element) -> str:
    """Name an element by the local names on its way down, without Document and the message element."""
    names = [etree.QName(ancestor).localname for ancestor in node.iterancestors()]
    names.reverse()
    below_message = [*names, etree.QName(node).localname][2:]
    return "/".join(below_message) or etree.QName(node).localname
