"""Write the schemas of settlement messages from the message model of python-iso20022 (see README.md beside this file).

    python schemas/iso20022/derive.py

The model's dataclasses carry, field by field, what a schema says: element name, order, whether it is required, how
often it may occur, lengths, patterns, digits and enumerations. This walks them from the message down and writes that
out. Same package version, same bytes: types are written in the order of their names, fields in the order of the model.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import importlib.metadata
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

PACKAGE = "python-iso20022"
MESSAGES = ("sese.020.001.07", "sese.023.001.11")
"""Cancellation request, and instruction."""


def module_of(message: str) -> str:
    """Where the package has the model of a message."""
    return f"python_iso20022.sese.{message.replace('.', '_')}"


def class_of(message: str) -> str:
    """Name of the message's dataclass, which the model adds to the names of its types."""
    return message.replace(".", "").capitalize()


def namespace_of(message: str) -> str:
    """XML namespace of the message."""
    return f"urn:iso:std:iso:20022:tech:xsd:{message}"


def target_of(message: str) -> Path:
    """The file its schema is written to."""
    return Path(__file__).with_name(f"{message}.xsd")


_SIMPLE_TYPES = {"str": "string", "Decimal": "decimal", "bool": "boolean", "XmlDate": "date", "XmlDateTime": "dateTime"}
_FACETS = {
    "min_inclusive": "minInclusive",
    "total_digits": "totalDigits",
    "fraction_digits": "fractionDigits",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
_OTHER_METADATA = {"name", "type", "namespace", "required", "min_occurs", "max_occurs"}


class ModelField:
    """One field of a dataclass of the model, read for what a schema needs."""

    def __init__(self, field: dataclasses.Field[Any], annotation: Any) -> None:
        """Read a field and its resolved annotation. Raises ValueError for metadata this program would lose."""
        self.metadata: Mapping[str, Any] = field.metadata
        unknown = set(self.metadata) - _OTHER_METADATA - set(_FACETS)
        if unknown:
            raise ValueError(f"field {field.name} has metadata that is not understood: {sorted(unknown)}")
        self.repeats = typing.get_origin(annotation) is list
        types = [argument for argument in typing.get_args(annotation) if argument is not type(None)] or [annotation]
        if len(types) != 1:
            raise ValueError(f"field {field.name} has more than one type: {types}")
        self.type: type[Any] = types[0]

    @property
    def kind(self) -> str:
        """`Element`, `Attribute`, `Wildcard`, or empty for the text of an element that has attributes."""
        return str(self.metadata.get("type", ""))

    @property
    def occurrence(self) -> str:
        """The minOccurs and maxOccurs attributes; empty when the element occurs exactly once."""
        least = int(self.metadata.get("min_occurs", 1 if self.metadata.get("required") else 0))
        most = self.metadata.get("max_occurs", "unbounded") if self.repeats else 1
        return ("" if least == 1 else f' minOccurs="{least}"') + ("" if most == 1 else f' maxOccurs="{most}"')

    def facets(self) -> Iterator[str]:
        """The restrictions on the value, in a fixed order."""
        for key, facet in _FACETS.items():
            if key in self.metadata:
                yield f"<xs:{facet} value={quoteattr(_facet_value(self.metadata[key]))}/>"


def _facet_value(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def derived_schema(name: str) -> str:
    """Give the text of a message's schema. Raises ValueError if the model has something that would be lost."""
    message = getattr(importlib.import_module(module_of(name)), class_of(name))
    namespace = namespace_of(name)
    complex_types, enumerations = _collect(message)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!-- Derived from {PACKAGE} {importlib.metadata.version(PACKAGE)} (MIT) by derive.py; see README.md. -->",
        "<!-- Not the schema that ISO 20022 publishes. Do not edit: run derive.py. -->",
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="{namespace}"'
        f' targetNamespace="{namespace}" elementFormDefault="qualified">',
        '  <xs:element name="Document" type="Document"/>',
    ]
    named = {_type_name(cls): _complex_type(cls) for cls in complex_types}
    named["Document"] = named.pop(_type_name(message)).replace(f'"{_type_name(message)}"', '"Document"')
    named.update({_type_name(cls): _enumeration(cls) for cls in enumerations})
    if len(named) != len(complex_types) + len(enumerations):
        raise ValueError("two types of the model would get the same name")
    lines.extend(named[name] for name in sorted(named))
    return "\n".join([*lines, "</xs:schema>", ""])


def _collect(message: type[Any]) -> tuple[list[type[Any]], list[type[enum.Enum]]]:
    """Find every dataclass and every enumeration that the message can reach."""
    complex_types: dict[type[Any], None] = {}
    enumerations: dict[type[enum.Enum], None] = {}
    waiting = [message]
    while waiting:
        cls = waiting.pop()
        if cls in complex_types:
            continue
        complex_types[cls] = None
        for field in _fields(cls):
            if dataclasses.is_dataclass(field.type):
                waiting.append(field.type)
            elif issubclass(field.type, enum.Enum):
                enumerations[field.type] = None
    return list(complex_types), list(enumerations)


def _fields(cls: type[Any]) -> list[ModelField]:
    annotations = typing.get_type_hints(cls)
    return [ModelField(field, annotations[field.name]) for field in dataclasses.fields(cls)]


def _type_name(cls: type[Any]) -> str:
    """Give the ISO name: the model adds the message to the class name, and keeps odd spellings in Meta."""
    name: str = getattr(getattr(cls, "Meta", None), "name", cls.__name__)
    for message in map(class_of, MESSAGES):
        name = name if name == message else name.removesuffix(message)
    return name


def _complex_type(cls: type[Any]) -> str:
    fields = _fields(cls)
    if any(field.kind == "" for field in fields):
        return _amount_type(cls, fields)
    # ISO 20022 names every choice "...Choice"; everything else is a sequence.
    is_choice = _type_name(cls).endswith("Choice")
    group = "choice" if is_choice else "sequence"
    elements = "\n".join(_element(field, in_choice=is_choice) for field in fields)
    start = f'  <xs:complexType name="{_type_name(cls)}">\n    <xs:{group}>'
    return f"{start}\n{elements}\n    </xs:{group}>\n  </xs:complexType>"


def _element(field: ModelField, *, in_choice: bool) -> str:
    if field.kind == "Wildcard":
        return f'      <xs:any namespace="{field.metadata["namespace"]}" processContents="lax"{field.occurrence}/>'
    if field.kind != "Element":
        raise ValueError(f"{field.metadata} is neither an element nor a wildcard")
    # One branch of a choice is always there: in the model it is optional only because the others may be chosen.
    occurrence = field.occurrence.replace(' minOccurs="0"', "") if in_choice else field.occurrence
    start = f'      <xs:element name="{field.metadata["name"]}"'
    if dataclasses.is_dataclass(field.type) or issubclass(field.type, enum.Enum):
        return f'{start} type="{_type_name(field.type)}"{occurrence}/>'
    base = f"xs:{_SIMPLE_TYPES[field.type.__name__]}"
    facets = "".join(field.facets())
    if not facets:
        return f'{start} type="{base}"{occurrence}/>'
    return (
        f"{start}{occurrence}><xs:simpleType>"
        f'<xs:restriction base="{base}">{facets}</xs:restriction></xs:simpleType></xs:element>'
    )


def _amount_type(cls: type[Any], fields: list[ModelField]) -> str:
    """Write a value with attributes, such as an amount with its currency, as a named simple type and its extension."""
    name = _type_name(cls)
    (value,) = [field for field in fields if field.kind == ""]
    attributes = [field for field in fields if field.kind == "Attribute"]
    if len(attributes) + 1 != len(fields):
        raise ValueError(f"{name} has text and elements")
    lines = [
        f'  <xs:simpleType name="{name}_SimpleType"><xs:restriction base="xs:{_SIMPLE_TYPES[value.type.__name__]}">'
        f"{''.join(value.facets())}</xs:restriction></xs:simpleType>",
        f'  <xs:complexType name="{name}">',
        "    <xs:simpleContent>",
        f'      <xs:extension base="{name}_SimpleType">',
        *(f"        {_attribute(attribute)}" for attribute in attributes),
        "      </xs:extension>",
        "    </xs:simpleContent>",
        "  </xs:complexType>",
    ]
    return "\n".join(lines)


def _attribute(field: ModelField) -> str:
    use = "required" if field.metadata.get("required") else "optional"
    return (
        f'<xs:attribute name="{field.metadata["name"]}" use="{use}"><xs:simpleType>'
        f'<xs:restriction base="xs:{_SIMPLE_TYPES[field.type.__name__]}">{"".join(field.facets())}</xs:restriction>'
        "</xs:simpleType></xs:attribute>"
    )


def _enumeration(cls: type[enum.Enum]) -> str:
    values = "".join(f"<xs:enumeration value={quoteattr(str(member.value))}/>" for member in cls)
    return (
        f'  <xs:simpleType name="{_type_name(cls)}"><xs:restriction base="xs:string">{values}'
        "</xs:restriction></xs:simpleType>"
    )


if __name__ == "__main__":
    for one in MESSAGES:
        target_of(one).write_text(derived_schema(one), encoding="utf-8")
