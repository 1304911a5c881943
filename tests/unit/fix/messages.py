"""FIX messages for tests, written as people write them: fields parted by '|'."""

from __future__ import annotations

BODY_4_4 = (
    "35=8|49=OMS1|56=POSTTRADE|34=7|52=20260302-10:00:00.000|37=O1|17=E1|150=F|39=2|1=FUND-A|"
    "453=2|448=TRADER9|447=D|452=12|448=DEUTDEFFXXX|447=B|452=17|"
    "55=[N/A]|48=DE0007164600|22=4|54=1|15=EUR|32=1000|31=100.00|30=XETR|151=0|14=1000|6=100|"
    "75=20260302|60=20260302-09:59:59.000"
)
"""What `samples.execution()` says, as an ExecutionReport of FIX 4.4."""

BODY_4_2 = (
    "35=8|49=OMS1|56=POSTTRADE|34=7|52=20260302-10:00:00|37=O1|17=E1|20=0|150=2|39=2|1=FUND-A|"
    "382=1|375=DEUTDEFFXXX|55=SAP|48=DE0007164600|22=4|54=1|15=EUR|32=1000|31=100.00|30=XETR|151=0|14=1000|6=100|"
    "75=20260302|60=20260302-09:59:59"
)
"""The same as an ExecutionReport of FIX 4.2."""

BODY_J = (
    "35=J|49=OMS1|56=POSTTRADE|34=8|52=20260302-10:05:00|70=J1|71=0|626=5|857=1|73=1|11=C1|37=O1|"
    "54=1|55=[N/A]|48=DE0007164600|22=4|53=1000|75=20260302|78=2|79=FUND-A|80=600|79=FUND-B|80=400"
)
"""What `samples.allocation_instruction()` says, as an AllocationInstruction of FIX 4.4."""


def message(body: str, *, begin_string: str = "FIX.4.4") -> bytes:
    """Frame a body with a right BodyLength and CheckSum."""
    return framed(body.replace("|", "\x01").encode() + b"\x01", begin_string=begin_string)


def framed(body: bytes, *, begin_string: str = "FIX.4.4") -> bytes:
    """Frame the bytes of a body, which ends with SOH."""
    start = f"8={begin_string}\x019={len(body)}\x01".encode() + body
    total = 0
    for byte in start:
        total = (total + byte) % 256
    return start + b"10=%03d\x01" % total


def with_field(body: str, tag: str, value: str | None) -> str:
    """Replace the value of a tag's first field, add the field at the end, or take it away (None)."""
    fields = body.split("|")
    index = next((index for index, field in enumerate(fields) if field.startswith(tag + "=")), len(fields))
    fields[index : index + 1] = [] if value is None else [f"{tag}={value}"]
    return "|".join(fields)
