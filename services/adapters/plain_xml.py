"""Settlement messages as plain values for the auditor: every element and attribute, knowing nothing of what they mean.

A second reading of what the services render: it shares nothing with `services.adapters.iso20022`. Whatever a message
says appears under its path, so that an element too many is seen as well as one that is missing or different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree

_NAMESPACE = "{urn:iso:std:iso:20022:tech:xsd:sese.023.001.11}"
_ROOT, _MESSAGE = f"{_NAMESPACE}Document", f"{_NAMESPACE}SctiesSttlmTxInstr"


def read_message(value: bytes) -> Mapping[str, Mapping[str, str]]:
    """One field `elements`: the text of each element by its path below SctiesSttlmTxInstr, attributes as `path@name`.

    Raises ValueError when it is no such message, or says something twice or between its elements.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(value, parser)
    except etree.XMLSyntaxError:
        raise ValueError("not well-formed XML") from None
    children = list(root)
    if root.tag != _ROOT or [child.tag for child in children] != [_MESSAGE]:
        raise ValueError("not one sese.023.001.11")
    elements: dict[str, str] = {}
    for path, text in _said(children[0], ""):
        if path in elements:
            raise ValueError("an element is there twice")
        elements[path] = text
    return {"elements": elements}


def _said(element: etree._Element, path: str) -> Iterator[tuple[str, str]]:
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
        if not tag.startswith(_NAMESPACE) or (child.tail or "").strip():
            raise ValueError("holds what is no element of the message")
        name = tag.removeprefix(_NAMESPACE)
        yield from _said(child, f"{path}/{name}" if path else name)
