"""Fixtures of the tests that need a broker with a proxy before it."""

from tests.support.kafka_proxy import proxied_kafka

__all__ = ["proxied_kafka"]
