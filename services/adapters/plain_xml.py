"""Settlement messages as plain values for the auditor: every element and attribute, knowing nothing of what they mean.

A second reading of what the services render: it shares nothing with `services.adapters.iso20022`. Whatever a message
says appears under its path, so that an element too many is seen as well as one that is missing or different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree

_MESSAGES = {
    "{urn:iso:std:iso:20022:tech:xsd:sese.020.001.07}": "SctiesTxCxlReq",
    "{urn:iso:std:iso:20022:tech:xsd:sese.023.001.11}": "SctiesSttlmTxInstr",
}
"""Namespace and message element of an instruction's cancellation, and of an instruction."""


def read_message(value: bytes) -> Mapping[str, Mapping[str, str]]:
    """One field `elements`: the text of each element by its path below the message element, attributes as `path@name`.

    The message element itself is there, too, under an empty path: it says which message it is.

    Raises ValueError when it is no such message, or says something twice or between its elements.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(value, parser)
    except etree.XMLSyntaxError:
        raise ValueError("not well-formed XML") from None
    children = list(root)
    namespace = str(root.tag).removesuffix("Document")
    if [child.tag for child in children] != [f"{namespace}{_MESSAGES.get(namespace)}"]:
        raise ValueError("not one sese.020.001.07 or sese.023.001.11")
    elements: dict[str, str] = {"": _MESSAGES[namespace]}
    for path, text in _said(children[0], "", namespace):
        if path in elements:
            raise ValueError("an element is there twice")
        elements[path] = text
    return {"elements": elements}


def _said(element: etree._Element, path: str, namespace: str) -> Iterator[tuple[str, str]]:
    for name, text in element.attrib.items():
        yield f"{path}@{name!s}", str(text)
    children = list(element)
    if not children:
        yield path, element.text or ""
        return
    if (element.text or "").strip():
        raise ValueError("holds text between its elements")
    for child in children:
        tag = str(child.tag)  # that of a comment is no name
        if not tag.startswith(namespace) or (child.tail or "").strip():
            raise ValueError("holds what is no element of the message")
        name = tag.removeprefix(namespace)
        yield from _said(child, f"{path}/{name}" if path else name, namespace)
