"""The static world of the sample day: securities, counterparties, accounts, and where each of them settles.

Securities, banks and their identifiers are public ones; prices, accounts and settlement instructions are made up. What
is left out on purpose, the gaps, is listed beside the tables: trades that need it wait, some until the late files come.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction

from deploy.sample_day.counterparties import PARTIES, PARTY_BICS, PROFILES, SOURCE
from services.domain.code import AllocationPolicy, DayCount, InstrumentType
from services.domain.money import round_fraction
from services.domain.record import Record, replace
from services.domain.reference import (
    Account,
    AllocationTemplate,
    BondTerms,
    Instrument,
    ReferenceRecord,
    StandingSettlementInstruction,
    TemplateShare,
)

TRADE_DATE = date(2026, 3, 2)
"""The Monday on which everything happens."""

EQUITY, ETF = InstrumentType.EQUITY, InstrumentType.ETF
GOVERNMENT_BOND, CORPORATE_BOND = InstrumentType.GOVERNMENT_BOND, InstrumentType.CORPORATE_BOND
DEBT = (GOVERNMENT_BOND, CORPORATE_BOND)
US, GB, DE, FR, JP = "US", "GB", "DE", "FR", "JP"
MARKETS = (US, GB, DE, FR, JP)

_PERCENT = 100
_AMOUNT_DIGITS = 2
_DAYS_30_360 = 360


class Coupon(Record, kw_only=True):
    """What a trading system computes accrued interest of the day from, in its own way."""

    rate: Decimal
    """Percent a year."""
    last: date
    """Coupon date before settlement."""
    following: date
    """Coupon date after settlement."""
    a_year: int
    """Coupons a year."""
    settles: date
    """Settlement date of the day's trades, up to which interest accrues."""
    is_30_360: bool = False
    """30/360 (US corporates) in place of ACT/ACT ICMA."""
    is_ex_dividend: bool = False
    """The following coupon is the seller's: what is lacking of it is negative interest."""

    def accrued(self, face: Decimal) -> Decimal:
        """Interest on the face amount, rounded half up to the cent."""
        since = self.following if self.is_ex_dividend else self.last
        if self.is_30_360:
            days = (self.settles.month - self.last.month) * 30 + self.settles.day - self.last.day
            share = Fraction(days, _DAYS_30_360)
        else:
            share = Fraction((self.settles - since).days, (self.following - self.last).days * self.a_year)
        return round_fraction(Fraction(face) * Fraction(self.rate) / _PERCENT * share, digits=_AMOUNT_DIGITS)


class Security(Record, kw_only=True):
    """An instrument with what is needed to trade it."""

    instrument: Instrument
    venue: str
    lot: Decimal
    """Orders and fills are multiples of it."""
    tick: Decimal
    level: int
    """Price around which it trades, in ticks."""
    coupon: Coupon | None = None
    terms: BondTerms | None = None
    """What the services compute accrued interest from."""


class _Market(Record, kw_only=True):
    currency: str
    venue: str
    tick: Decimal
    lot: Decimal
    depository: str
    agent: str
    """Who settles there for counterparties from abroad."""
    custodian: str
    """Who settles there for our accounts."""


_MARKETS = {
    US: _Market(
        currency="USD", venue="XNYS", tick=Decimal("0.01"), lot=Decimal(10),
        depository="DTCYUS33XXX", agent="CITIUS33XXX", custodian="SBOSUS33XXX",
    ),
    GB: _Market(
        currency="GBP", venue="XLON", tick=Decimal("0.005"), lot=Decimal(1),
        depository="CRSTGB22XXX", agent="CITIGB2LXXX", custodian="CNORGB22XXX",
    ),
    DE: _Market(
        currency="EUR", venue="XETR", tick=Decimal("0.01"), lot=Decimal(1),
        depository="DAKVDEFFXXX", agent="CITIDEFFXXX", custodian="PARBDEFFXXX",
    ),
    FR: _Market(
        currency="EUR", venue="XPAR", tick=Decimal("0.01"), lot=Decimal(1),
        depository="SICVFRPPXXX", agent="CITIFRPPXXX", custodian="PARBFRPPXXX",
    ),
    JP: _Market(
        currency="JPY", venue="XTKS", tick=Decimal(1), lot=Decimal(100),
        depository="JJSDJPJTXXX", agent="CITIJPJTXXX", custodian="HSBCJPJTXXX",
    ),
}  # fmt: skip

_FEDWIRE = "FRNYUS33XXX"
"""United States government bonds settle in the books of the Federal Reserve, not at the depository of shares."""
_INTERNATIONAL_DEPOSITORY = "MGTCBEBEECL"
_BOND_VENUES = {US: "BTEC", GB: "XLON", DE: "XFRA"}
BOND_MARKETS = tuple(_BOND_VENUES)

# ISIN, SEDOL, CUSIP, name, issuer's country, level in ticks
_Row = tuple[str, str | None, str | None, str, str, int]
_SHARES: dict[str, tuple[_Row, ...]] = {
    US: (
        ("US0378331005", None, "037833100", "Apple Inc.", "US", 26412),
        ("US5949181045", None, "594918104", "Microsoft Corporation", "US", 40133),
        ("US67066G1040", None, "67066G104", "NVIDIA Corporation", "US", 18755),
        ("US0231351067", None, "023135106", "Amazon.com, Inc.", "US", 20987),
        ("US46625H1005", None, "46625H100", "JPMorgan Chase & Co.", "US", 30544),
        ("US30231G1022", None, "30231G102", "Exxon Mobil Corporation", "US", 14871),
        ("US1912161007", None, "191216100", "The Coca-Cola Company", "US", 7945),
    ),
    GB: (
        ("GB0009895292", "0989529", None, "AstraZeneca PLC", "GB", 29380),
        ("GB00BP6MXD84", "BP6MXD8", None, "Shell plc", "GB", 5964),
        ("GB0005405286", "0540528", None, "HSBC Holdings plc", "GB", 2557),
        ("GB0002374006", "0237400", None, "Diageo plc", "GB", 3561),
        ("GB0007980591", "0798059", None, "BP p.l.c.", "GB", 957),
        ("GB00BN7SWP63", "BN7SWP6", None, "GSK plc", "GB", 4263),
        ("GB0007188757", "0718875", None, "Rio Tinto plc", "GB", 14210),
    ),
    DE: (
        ("DE0007164600", "4846288", None, "SAP SE", "DE", 17248),
        ("DE0007236101", None, None, "Siemens AG", "DE", 24315),
        ("DE0008404005", None, None, "Allianz SE", "DE", 37170),
        ("DE0005557508", None, None, "Deutsche Telekom AG", "DE", 3261),
        ("DE000BASF111", None, None, "BASF SE", "DE", 4902),
        ("DE0005190003", None, None, "Bayerische Motoren Werke AG", "DE", 8876),
        ("DE0006231004", None, None, "Infineon Technologies AG", "DE", 4187),
    ),
    FR: (
        ("FR0000121014", "4061412", None, "LVMH Moet Hennessy Louis Vuitton SE", "FR", 54120),
        ("FR0000120271", "B15C557", None, "TotalEnergies SE", "FR", 6377),
        ("FR0000120578", "5671735", None, "Sanofi", "FR", 8025),
        ("FR0000131104", "7309681", None, "BNP Paribas", "FR", 8994),
        ("FR0000120073", "B1YXBJ7", None, "L'Air Liquide S.A.", "FR", 16846),
        ("FR0000120321", "4057808", None, "L'Oreal", "FR", 37905),
    ),
    JP: (
        ("JP3633400001", "6900643", None, "Toyota Motor Corporation", "JP", 3472),
        ("JP3435000009", "6821506", None, "Sony Group Corporation", "JP", 3518),
        ("JP3436100006", "6770620", None, "SoftBank Group Corp.", "JP", 4105),
        ("JP3902900004", "6335171", None, "Mitsubishi UFJ Financial Group, Inc.", "JP", 2861),
        ("JP3756600007", "6639550", None, "Nintendo Co., Ltd.", "JP", 8833),
    ),
}
_FUNDS: dict[str, tuple[_Row, ...]] = {
    US: (("US78462F1030", None, "78462F103", "SPDR S&P 500 ETF Trust", "US", 68610),),
    GB: (("IE0005042456", "0504245", None, "iShares Core FTSE 100 UCITS ETF", "IE", 2114),),
    DE: (("DE0005933931", None, None, "iShares Core DAX UCITS ETF", "DE", 20844),),
}


def _share(market: str, row: _Row, instrument_type: InstrumentType) -> Security:
    isin, sedol, cusip, name, issuer_country, level = row
    terms = _MARKETS[market]
    denomination = terms.lot if market == JP else Decimal(1)
    instrument = Instrument(
        isin=isin, sedol=sedol, cusip=cusip, name=name, instrument_type=instrument_type, settlement_market=market,
        currency=terms.currency, issuer_country=issuer_country, denomination=denomination, source=SOURCE,
    )  # fmt: skip
    return Security(instrument=instrument, venue=terms.venue, lot=terms.lot, tick=terms.tick, level=level)


_DENOMINATIONS = {DE: Decimal("0.01"), GB: Decimal("0.01"), US: Decimal(100)}
_DENOMINATION_CORPORATE = Decimal(1_000)
_BOND_LOT = Decimal(10_000)
_GILT_EX_DIVIDEND_DAYS = 7


def _bond(
    isin: str,
    name: str,
    *,
    market: str,
    coupon: Coupon,
    life: tuple[date, date | None, date],
    trades: tuple[str, int],
    local_id: str | None = None,
    is_corporate: bool = False,
) -> Security:
    """A bond that pays interest.

    `life` is the first day of interest, the first coupon date where that coupon is irregular, and maturity; `trades`
    the tick and the level in ticks; `local_id` the SEDOL in GB, the CUSIP in US.
    """
    (begins, first, matures), (tick, level) = life, trades
    instrument = Instrument(
        isin=isin,
        sedol=local_id if market == GB else None,
        cusip=local_id if market == US else None,
        name=name,
        instrument_type=CORPORATE_BOND if is_corporate else GOVERNMENT_BOND,
        settlement_market=market,
        currency=_MARKETS[market].currency,
        issuer_country=market,
        denomination=_DENOMINATION_CORPORATE if is_corporate else _DENOMINATIONS[market],
        valid_to=matures,
        source=SOURCE,
    )
    terms = BondTerms(
        isin=isin,
        coupon_rate=coupon.rate / _PERCENT,
        coupons_a_year=coupon.a_year,
        day_count=DayCount.THIRTY_360_US if coupon.is_30_360 else DayCount.ACT_ACT_ICMA,
        accrual_start=begins,
        first_coupon_date=first,
        maturity_date=matures,
        ex_dividend_days=_GILT_EX_DIVIDEND_DAYS if market == GB else 0,
        ex_dividend_calendar="SETTLEMENT:GB" if market == GB else None,
        source=SOURCE,
    )
    return Security(
        instrument=instrument,
        venue=_BOND_VENUES[market],
        lot=_BOND_LOT,
        tick=Decimal(tick),
        level=level,
        coupon=coupon,
        terms=terms,
    )


def _coupon(rate: str, last: date, following: date, settles: date, *, a_year: int, is_30_360: bool = False) -> Coupon:
    return Coupon(
        rate=Decimal(rate), last=last, following=following, settles=settles, a_year=a_year, is_30_360=is_30_360
    )


_NEXT_DAY, _TWO_DAYS = date(2026, 3, 3), date(2026, 3, 4)
_FEBRUARY = (date(2026, 2, 15), date(2026, 8, 15), _NEXT_DAY)
_JANUARY = (date(2026, 1, 31), date(2026, 7, 31), _NEXT_DAY)

BONDS = (
    _bond(
        "DE000BU2Z023", "Bund 2.20% 15 February 2034", market=DE, trades=("0.005", 19366),
        coupon=_coupon("2.2", date(2026, 2, 15), date(2027, 2, 15), _TWO_DAYS, a_year=1),
        life=(date(2024, 1, 12), date(2025, 2, 15), date(2034, 2, 15)),
    ),
    _bond(
        "DE000BU2Z031", "Bund 2.60% 15 August 2034", market=DE, trades=("0.005", 19882),
        coupon=_coupon("2.6", date(2025, 8, 15), date(2026, 8, 15), _TWO_DAYS, a_year=1),
        life=(date(2024, 7, 5), date(2025, 8, 15), date(2034, 8, 15)),
    ),
    _bond(
        "US91282CJZ59", "US Treasury Note 4.00% 15 February 2034", market=US,
        trades=("0.015625", 6412), local_id="91282CJZ5", coupon=_coupon("4", *_FEBRUARY, a_year=2),
        life=(date(2024, 2, 15), None, date(2034, 2, 15)),
    ),
    _bond(
        "US91282CLF67", "US Treasury Note 3.875% 15 August 2034", market=US,
        trades=("0.015625", 6351), local_id="91282CLF6", coupon=_coupon("3.875", *_FEBRUARY, a_year=2),
        life=(date(2024, 8, 15), None, date(2034, 8, 15)),
    ),
    _bond(
        "GB00BPJJKN53", "Treasury Gilt 4.625% 31 January 2034", market=GB,
        trades=("0.005", 20284), local_id="BPJJKN5", coupon=_coupon("4.625", *_JANUARY, a_year=2),
        life=(date(2023, 9, 6), None, date(2034, 1, 31)),
    ),
    _bond(
        "GB00BM8Z2S21", "Green Gilt 0.875% 31 July 2033", market=GB,
        trades=("0.005", 15707), local_id="BM8Z2S2", coupon=_coupon("0.875", *_JANUARY, a_year=2),
        life=(date(2021, 9, 22), None, date(2033, 7, 31)),
    ),
    _bond(
        "US037833BX70", "Apple Inc. 4.65% 23 February 2046", market=US,
        trades=("0.005", 18730), local_id="037833BX7", is_corporate=True,
        coupon=_coupon("4.65", date(2026, 2, 23), date(2026, 8, 23), _NEXT_DAY, a_year=2, is_30_360=True),
        life=(date(2016, 2, 23), None, date(2046, 2, 23)),
    ),
    _bond(
        "DE0001102580", "Bund 0% 15 February 2032", market=DE, trades=("0.005", 17422),
        coupon=_coupon("0", date(2026, 2, 15), date(2027, 2, 15), _TWO_DAYS, a_year=1),
        life=(date(2022, 2, 15), None, date(2032, 2, 15)),
    ),
    _bond(
        "GB0032452392", "Treasury Gilt 4.25% 7 March 2036", market=GB,
        trades=("0.005", 19480), local_id="3245239", life=(date(2003, 2, 27), date(2003, 9, 7), date(2036, 3, 7)),
        coupon=Coupon(rate=Decimal("4.25"), last=date(2025, 9, 7), following=date(2026, 3, 7), settles=_NEXT_DAY,
                      a_year=2, is_ex_dividend=True),
    ),
)  # fmt: skip

EX_DIVIDEND = BONDS[-1]
"""Its coupon is due on Saturday 7 March, and it settles within the seven business days before."""

LATE_TERMS = _bond(
    "DE0001102606", "Bund 1.70% 15 August 2032", market=DE, trades=("0.005", 19010),
    coupon=_coupon("1.7", date(2025, 8, 15), date(2026, 8, 15), _TWO_DAYS, a_year=1),
    life=(date(2022, 7, 8), date(2023, 8, 15), date(2032, 8, 15)),
)  # fmt: skip
"""Gap: a bond that is known, but its terms are only in the late files."""

SECURITIES: tuple[Security, ...] = (
    *(_share(market, row, EQUITY) for market, rows in _SHARES.items() for row in rows),
    *(_share(market, row, ETF) for market, rows in _FUNDS.items() for row in rows),
    *BONDS,
)
"""What is traded and known from the beginning."""

LATE_SECURITIES: tuple[Security, ...] = (
    _share(US, ("US46090E1038", None, "46090E103", "Invesco QQQ Trust", "US", 60725), ETF),
    _share(FR, ("FR0000121972", "4834108", None, "Schneider Electric SE", "FR", 25170), EQUITY),
)
"""Gap: traded, but only in the late files."""

_ISSUE_DATE = date(2026, 3, 12)


def _gilt_when_issued(
    isin: str, rate: str, matures: date, local_id: str, *, level: int, issue_date: date | None
) -> Security:
    """Settles on the day of issue, from which interest accrues: nothing is accrued yet."""
    following = matures.replace(year=_ISSUE_DATE.year)
    gilt = _bond(
        isin,
        f"Treasury Gilt {rate}% {matures.day} {matures.strftime('%B %Y')}",
        market=GB,
        life=(_ISSUE_DATE, None, matures),
        trades=("0.005", level),
        local_id=local_id,
        coupon=_coupon(rate, _ISSUE_DATE, following, _ISSUE_DATE, a_year=2),
    )
    return replace(gilt, instrument=replace(gilt.instrument, issue_date=issue_date))


WHEN_ISSUED_SECURITY = _gilt_when_issued(
    "GB00BTXS1K06", "4.75", date(2035, 10, 22), "BTXS1K0", level=20055, issue_date=_ISSUE_DATE
)
"""Traded when issued, before the day on which it is issued."""

UNDATED_SECURITY = _gilt_when_issued("GB00BT7J0241", "4.5", date(2035, 9, 7), "BT7J024", level=19730, issue_date=None)
"""Gap: traded when issued, and its issue date is only in the late files."""

UNKNOWN_SECURITY = _share(US, ("US4781601046", None, "478160104", "Johnson & Johnson", "US", 24381), EQUITY)
"""Gap: traded, and in no file."""

_SETTLING = (
    ("PF-1001", "Global Equity Fund"),
    ("PF-1002", "European Pension Plan"),
    ("PF-1003", "Balanced Growth Fund"),
    ("PF-1004", "Balanced Income Fund"),
    ("PF-1005", "Endowment Portfolio"),
    ("PF-1006", "Index Tracker World"),
    ("PF-1007", "Index Tracker Europe"),
    ("PF-1008", "Index Tracker Sustainable"),
    ("PF-1009", "Insurance General Account"),
    ("PF-1010", "Insurance Unit-Linked Account"),
    ("PF-1011", "Municipal Retirement Scheme"),
    ("PF-1012", "Hospital Trust Portfolio"),
)
SETTLING_ACCOUNTS = tuple(account for account, _ in _SETTLING)
SINGLE_ACCOUNTS = ("PF-1001", "PF-1002")
TEMPLATES = {
    "BK-2001": (("PF-1003", "0.5"), ("PF-1004", "0.3"), ("PF-1005", "0.2")),
    "BK-2002": (("PF-1006", "1"), ("PF-1007", "1"), ("PF-1008", "1")),
}
EXPLICIT_ACCOUNTS = ("BK-3001", "BK-3002")
EXPLICIT_SHARES = SETTLING_ACCOUNTS[2:]
BLOCK_ACCOUNTS = {
    AllocationPolicy.SINGLE: SINGLE_ACCOUNTS,
    AllocationPolicy.TEMPLATE: tuple(TEMPLATES),
    AllocationPolicy.EXPLICIT: EXPLICIT_ACCOUNTS,
}
_BLOCK_NAMES = {
    "BK-2001": "Balanced mandates",
    "BK-2002": "Index mandates",
    "BK-3001": "Discretionary desk",
    "BK-3002": "Multi-asset desk",
}

UNKNOWN_ACCOUNT = "PF-1999"
"""Gap: trades are reported for it, and it is in no file."""

LATE_CHAINS = frozenset({("NOMAGB2LXXX", FR), ("PF-1011", DE)})
"""Gaps, owner and market: settlement instructions that are only in the late files."""

MISSING_CHAINS = frozenset({("UBSWCHZH80A", JP), ("PF-1002", JP), ("PF-1012", GB)})
"""Gaps, owner and market: settlement instructions that are in no file."""

ELSEWHERE = frozenset({("BARCGB22XXX", DE)})
"""Owner and market: settles at another depository than our accounts do, so nothing can be instructed."""

GAPS = LATE_CHAINS | MISSING_CHAINS | ELSEWHERE


def _policy(account: str) -> AllocationPolicy:
    return next((policy for policy, accounts in BLOCK_ACCOUNTS.items() if account in accounts), AllocationPolicy.SINGLE)


def _accounts() -> Iterator[ReferenceRecord]:
    for account, name in (*_SETTLING, *_BLOCK_NAMES.items()):
        yield Account(account=account, name=name, allocation_policy=_policy(account), source=SOURCE)
    for account, shares in TEMPLATES.items():
        weighted = tuple(TemplateShare(account=settling, weight=Decimal(weight)) for settling, weight in shares)
        yield AllocationTemplate(account=account, shares=weighted, source=SOURCE)


def _chains() -> Iterator[StandingSettlementInstruction]:
    for number, bic in enumerate(PARTY_BICS, start=1):
        for market in MARKETS:
            at_home = bic[4:6] == market
            participant = bic if at_home else _MARKETS[market].agent
            yield from _rows(bic, market, number, participant=participant, client=None if at_home else bic)
    for number, account in enumerate(SETTLING_ACCOUNTS, start=len(PARTY_BICS) + 1):
        for market in MARKETS:
            yield from _rows(account, market, number, participant=_MARKETS[market].custodian, client=None)


def _rows(
    owner: str, market: str, number: int, *, participant: str, client: str | None
) -> Iterator[StandingSettlementInstruction]:
    """The owner's row for the market; in the United States one more for government bonds."""
    home = _MARKETS[market].depository
    depository = _INTERNATIONAL_DEPOSITORY if (owner, market) in ELSEWHERE else home
    kinds: list[tuple[InstrumentType | None, str]] = [(None, depository)]
    if market == US:
        kinds.append((GOVERNMENT_BOND, _FEDWIRE))
    for instrument_type, place in kinds:
        suffix = "G" if instrument_type else ""
        yield StandingSettlementInstruction(
            owner=owner,
            settlement_market=market,
            instrument_type=instrument_type,
            depository_bic=place,
            participant_bic=participant,
            participant_account=f"{7000 + MARKETS.index(market)}{number:04d}",
            client_bic=client,
            safekeeping_account=f"{market}{88_000_000 + number * 137 + MARKETS.index(market)}{suffix}",
            source=SOURCE,
        )


def reference() -> tuple[ReferenceRecord, ...]:
    """What is known from the beginning, in the order of the files; market data is in deploy/reference."""
    chains = (row for row in _chains() if (row.owner, row.settlement_market) not in LATE_CHAINS | MISSING_CHAINS)
    securities = (*SECURITIES, LATE_TERMS, WHEN_ISSUED_SECURITY, UNDATED_SECURITY)
    instruments = (security.instrument for security in securities)
    terms = (security.terms for security in SECURITIES if security.terms is not None)
    return (*instruments, *PARTIES, *_accounts(), *chains, *PROFILES, *terms)


def late_reference() -> tuple[ReferenceRecord, ...]:
    """What comes late, in the order of the files."""
    chains = (row for row in _chains() if (row.owner, row.settlement_market) in LATE_CHAINS)
    assert LATE_TERMS.terms is not None
    dated = replace(UNDATED_SECURITY.instrument, issue_date=_ISSUE_DATE)
    return (*(security.instrument for security in LATE_SECURITIES), dated, *chains, LATE_TERMS.terms)
