"""Check digits against published examples, and against an implementation that is not ours."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import cusip, isin, lei
from stdnum.gb import sedol
from stdnum.iso7064 import mod_97_10

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
    (checks.is_lei, "7LTWFZYICNSX8D621K86", True),  # Deutsche Bank
    (checks.is_lei, "7LTWFZYICNSX8D621K68", False),
    (checks.is_lei, "7LTWFZYICNSX8D621K8", False),
    (checks.is_lei, "7ltwfzyicnsx8d621k86", False),
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


@settings(max_examples=200, deadline=None)
@given(
    st.text(string.ascii_uppercase + string.digits, min_size=18, max_size=18), st.from_regex("[0-9]{2}", fullmatch=True)
)
def test_lei_agrees_with_python_stdnum(serial: str, digits: str) -> None:
    """Two check digits, and one pair of them is right (01 and 98 leave the same remainder: 02 to 98 are used)."""
    right = checks.lei_check_digits(serial)
    assert right == mod_97_10.calc_check_digits(serial)
    assert checks.is_lei(serial + right)
    assert lei.is_valid(serial + right)
    assert checks.is_lei(serial + digits) is (digits == right)


def test_every_scheme_makes_the_checks_that_it_tells() -> None:
    """Form and check digits taken apart are the whole of the check, for whoever explains it."""
    for scheme in checks.IDENTIFIER_SCHEMES.values():
        texts = [text for check, text, _ in SHAPES if check is scheme.is_valid]
        assert texts, scheme.name
        for text in texts:
            count = scheme.check_digits_count
            fits = scheme.shape.fullmatch(text) is not None
            ends = not fits or scheme.check_digits is None or scheme.check_digits(text[:-count]) == text[-count:]
            assert scheme.is_valid(text) is (fits and ends), text
