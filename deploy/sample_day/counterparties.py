"""The counterparties of the sample day, and what they may differ by when they confirm."""

from __future__ import annotations

from decimal import Decimal

from services.domain.code import MatchingField, ToleranceCode
from services.domain.reference import MatchingProfile, Party

SOURCE = "sample"

TOLERANT_PARTY = "SBILGB2XXXX"
"""Names a matching profile of its own, which has a row of each code."""

_TOLERANT_ROWS: tuple[tuple[MatchingField, str | None, ToleranceCode, dict[str, str]], ...] = (
    (MatchingField.PRICE, None, ToleranceCode.CPOP, {}),
    (MatchingField.GROSS_AMOUNT, None, ToleranceCode.NUFM, {}),
    (MatchingField.ACCRUED_INTEREST, None, ToleranceCode.PTOL, {"percent": "2"}),
    (MatchingField.CHARGES, None, ToleranceCode.PTMX, {"percent": "5", "maximum": "10"}),
    (MatchingField.NET_AMOUNT, None, ToleranceCode.MNMX, {"below": "2", "above": "3"}),
    (MatchingField.NET_AMOUNT, "JPY", ToleranceCode.MNMX, {"below": "300", "above": "300"}),
)
PROFILES = tuple(
    MatchingProfile(
        profile="TOLERANT",
        currency=currency,
        field=field,
        code=code,
        percent=Decimal(values["percent"]) if "percent" in values else None,
        maximum=Decimal(values["maximum"]) if "maximum" in values else None,
        below=Decimal(values["below"]) if "below" in values else None,
        above=Decimal(values["above"]) if "above" in values else None,
        source=SOURCE,
    )
    for field, currency, code, values in _TOLERANT_ROWS
)


# BIC, LEI, name
PARTIES = tuple(
    Party(
        bic=bic,
        lei=lei,
        name=name,
        matching_profile="TOLERANT" if bic == TOLERANT_PARTY else "DEFAULT",
        source=SOURCE,
    )
    for bic, lei, name in (
        ("DEUTDEFFXXX", "7LTWFZYICNSX8D621K86", "Deutsche Bank AG"),
        ("GSILGB2XXXX", "W22LROWP2IHZNBB6K528", "Goldman Sachs International"),
        ("JPMSGB2LXXX", "K6Q0W1PS1L1O4IQL9C32", "J.P. Morgan Securities plc"),
        ("MSLNGB2XXXX", "4PQUHN3JPFGFNF3BB653", "Morgan Stanley & Co. International plc"),
        ("BNPAFRPPXXX", "R0MUWSFPU8MPRO8K5P83", "BNP Paribas"),
        ("BARCGB22XXX", "G5GSEF7VJP5I7OUK5573", "Barclays Bank PLC"),
        ("UBSWCHZH80A", "BFM8T61CT2L1QCEMIK50", "UBS AG"),
        ("SOGEFRPPXXX", "O2RNE8IBXP4R0TD8PU41", "Societe Generale"),
        ("SBILGB2XXXX", "XKZZ2JZF41MRHTR1V493", "Citigroup Global Markets Limited"),
        ("NOMAGB2LXXX", "DGQCSV2PHVF7I2743539", "Nomura International plc"),
    )
)
PARTY_BICS = tuple(party.bic for party in PARTIES)
