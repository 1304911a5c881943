"""Fixtures for every test, and the marks that tell with what a test may run together."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support.broker import kafka, local_kafka, prefix

__all__ = ["kafka", "local_kafka", "prefix"]

settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("gate")
# No example has a deadline: it would tell how busy the machine is.
# A gate draws the same examples each time, so that a change is judged by what it changes. New examples are looked for
# on purpose: `pytest --hypothesis-profile=explore`.

_SERVER_FIXTURES = {"local_kafka"}
_SERVER_PARAMETERS = {"kafka"}
"""Values of parameters with which a fixture asks for a server only when it runs, as `log` of tests/contract does."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known: an unknown one is an error."""
    config.addinivalue_line("markers", "server: needs a server process; left out by `make check`")
    config.addinivalue_line(
        "markers", "alone: its promise is about time, so nothing else runs beside it; implies server"
    )
    config.addinivalue_line(
        "markers", "long: minutes, most of them waiting; runs beside the tests without a server; implies server"
    )
    config.addinivalue_line(
        "markers", "bench: builds and runs a program the service is measured beside; `make bench-check`; implies server"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses a server's fixture is marked `server`; one that starts its own server says so itself."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        asks_late = any(isinstance(value, str) and value in _SERVER_PARAMETERS for value in parameters)
        if asks_late or _SERVER_FIXTURES.intersection(item.fixturenames) or _is_marked(item, "alone", "long", "bench"):
            item.add_marker("server")


def _is_marked(item: pytest.Item, *names: str) -> bool:
    return any(item.get_closest_marker(name) is not None for name in names)
