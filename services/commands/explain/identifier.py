"""Why an identifier is refused: services.domain.checks, as capture and the reference data loader ask it."""

from __future__ import annotations

from services.commands.explain import readers
from services.commands.explain.kind import Answer, Basis, Case, CaseError, CaseField, Kind, Step
from services.domain.checks import IDENTIFIER_SCHEMES, IdentifierScheme
from services.domain.reference import Instrument, Party, ReferenceData


def explain(case: Case, reference: ReferenceData) -> Answer:
    """Valid or not; which check failed, and which check digit would be right."""
    scheme = _scheme(case)
    value: str = case["value"]
    is_valid = scheme.is_valid(value)
    result: dict[str, object] = {"scheme": scheme.name, "value": value, "valid": is_valid}
    steps = [Step("form", _form(scheme, value))]
    if scheme.shape.fullmatch(value) is not None and scheme.check_digits is not None:
        count = scheme.check_digits_count
        body, found, expected = value[:-count], value[-count:], scheme.check_digits(value[:-count])
        positions = f"{len(body) + 1}" if count == 1 else f"{len(body) + 1} and {len(value)}"
        steps.append(Step("check digit", _digit(found, expected, positions)))
        if found != expected:
            result["expected"] = f"{body}{expected}"
    rule = f"{scheme.name} ({scheme.standard}): {scheme.form}"
    return Answer(result=result, rule=rule, steps=tuple(steps), basis=_named(case, scheme, reference))


def _scheme(case: Case) -> IdentifierScheme:
    """The scheme that is named, or the one whose form the value has; of several the one whose check digit is right."""
    name: str | None = case["scheme"]
    if name is not None:
        return IDENTIFIER_SCHEMES[name]
    fitting = [scheme for scheme in IDENTIFIER_SCHEMES.values() if scheme.shape.fullmatch(case["value"])]
    right = [scheme for scheme in fitting if scheme.is_valid(case["value"])]
    if len(right or fitting) != 1:
        fits = ", ".join(scheme.name for scheme in right or fitting) or "no scheme"
        raise CaseError(f"the value {case['value']!r} has the form of {fits}; say which is meant with scheme")
    return (right or fitting)[0]


def _form(scheme: IdentifierScheme, value: str) -> str:
    if scheme.shape.fullmatch(value) is not None:
        return "right"
    if scheme.shape.fullmatch(value.strip().upper()) is not None:
        return f"wrong: {value!r} has small letters or blanks, and nothing is repaired; expected {scheme.form}"
    return f"wrong: {value!r} has {len(value)} characters; expected {scheme.form}"


def _digit(found: str, expected: str, positions: str) -> str:
    return f"right: {found}" if found == expected else f"wrong at {positions}: was {found}, expected {expected}"


def _named(case: Case, scheme: IdentifierScheme, reference: ReferenceData) -> tuple[Basis, ...]:
    """Whom or what reference data has under that name on the day, when a day is given."""
    if case["on"] is None:
        return ()
    instrument = reference.find(Instrument, f"{scheme.name}:{case['value']}", on=case["on"])
    if instrument is not None:
        return (Basis(instrument, instrument.name),)
    party = reference.find(Party, case["value"], on=case["on"]) if scheme.name == "BIC" else None
    return () if party is None else (Basis(party, party.name),)


def _known_scheme(value: str) -> str:
    if value.upper() not in IDENTIFIER_SCHEMES:
        raise ValueError("one of " + ", ".join(IDENTIFIER_SCHEMES))
    return value.upper()


KIND = Kind(
    name="identifier",
    summary="""Say whether an identifier is right, which check failed, and where its check digit should be.

    For example: posttrade explain identifier --value US0378331006
    """,
    fields=(
        CaseField("value", "The identifier as it was sent.", readers.text, is_required=True),
        CaseField("scheme", "ISIN, SEDOL, CUSIP, LEI, BIC or MIC; by its form when left out.", _known_scheme),
        CaseField("on", "A day on which to look the name up in reference data.", readers.day),
    ),
    explain=explain,
)
