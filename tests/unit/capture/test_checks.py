"""Check digits against published examples, and against an implementation that is not ours."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import cusip, isin
from stdnum.gb import sedol

from services.domain import checks

SHAPES = [
    # check, text, whether it holds
    (checks.is_isin, "US0378331005", True),  # Apple
    (checks.is_isin, "DE0007164600", True),  # SAP
    (checks.is_isin, "GB0002634946", True),  # BAE Systems
    (checks.is_isin, "US0378331006", False),
    (checks.is_isin, "US0373831005", False),  # two digits changed places
    (checks.is_isin, "us0378331005", False),
    (checks.is_isin, "US037833100", False),
    (checks.is_isin, " US0378331005", False),
    (checks.is_isin, "US0378331005\n", False),
    (checks.is_isin, "US037833100\u0665", False),
    (checks.is_sedol, "0263494", True),  # BAE Systems
    (checks.is_sedol, "B0YBKJ7", True),
    (checks.is_sedol, "0263495", False),
    (checks.is_sedol, "B0YBKA7", False),  # vowels are not used
    (checks.is_sedol, "02634940", False),
    (checks.is_cusip, "037833100", True),  # Apple
    (checks.is_cusip, "17275R102", True),  # Cisco
    (checks.is_cusip, "037833101", False),
    (checks.is_cusip, "03783310", False),
    (checks.is_bic, "DEUTDEFF", True),
    (checks.is_bic, "DEUTDEFFXXX", True),
    (checks.is_bic, "DEUTDEFFX", False),
    (checks.is_bic, "DEUT1EFF", False),
    (checks.is_bic, "deutdeff", False),
    (checks.is_currency, "EUR", True),
    (checks.is_currency, "GBp", False),
    (checks.is_currency, "EURO", False),
    (checks.is_mic, "XETR", True),
    (checks.is_mic, "360T", True),
    (checks.is_mic, "N", False),
    (checks.is_identifier, "A" * 64, True),
    (checks.is_identifier, "A b/c|d", True),
    (checks.is_identifier, "A" * 65, False),
    (checks.is_identifier, "", False),
    (checks.is_identifier, "   ", False),
    (checks.is_identifier, "A\x1fB", False),
    (checks.is_identifier, "A\n", False),
    (checks.is_identifier, "A\x7f", False),
    (checks.is_identifier, "F\u00d6ND", False),
]


@pytest.mark.parametrize(("check", "text", "holds"), SHAPES)
def test_shapes_and_published_examples(check: object, text: str, holds: bool) -> None:
    """Known instruments pass; a slip of the pen, padding and lower case do not."""
    assert callable(check)
    assert check(text) is holds


SERIALS = st.text(string.ascii_uppercase + string.digits, min_size=9, max_size=9)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["US", "DE", "GB", "XS", "FR", "JP"]), SERIALS, st.sampled_from(string.digits))
def test_isin_agrees_with_python_stdnum(country: str, serial: str, digit: str) -> None:
    """Same verdict on any text of the right shape, right digit or wrong."""
    text = country + serial + digit
    right = country + serial + isin.calc_check_digit(country + serial)

    assert checks.is_isin(text) == isin.is_valid(text)
    assert checks.is_isin(right)


@settings(max_examples=200, deadline=None)
@given(
    st.text(string.digits, min_size=6, max_size=6)
    | st.builds(
        "".join,
        st.tuples(st.sampled_from("BCDF"), st.text("0123456789BCDFGHJKLMNPQRSTVWXYZ", min_size=5, max_size=5)),
    ),
    st.sampled_from(string.digits),
)
def test_sedol_agrees_with_python_stdnum(serial: str, digit: str) -> None:
    """Old SEDOLs are digits only, newer ones begin with a letter."""
    assert checks.is_sedol(serial + digit) == sedol.is_valid(serial + digit)
    assert checks.is_sedol(serial + sedol.calc_check_digit(serial))


@settings(max_examples=200, deadline=None)
@given(st.text(string.ascii_uppercase + string.digits + "*@#", min_size=8, max_size=8), st.sampled_from(string.digits))
def test_cusip_agrees_with_python_stdnum(serial: str, digit: str) -> None:
    """Letters and the three signs have values too."""
    assert checks.is_cusip(serial + digit) == cusip.is_valid(serial + digit)
    assert checks.is_cusip(serial + cusip.calc_check_digit(serial))
