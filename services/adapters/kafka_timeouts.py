"""How long the Kafka clients of a worker wait for what, and why one wait must be shorter than another."""

from __future__ import annotations

from dataclasses import dataclass

SESSION_TIMEOUT_MS = 12_000
TRANSACTION_TIMEOUT_MS = 10_000
MESSAGE_TIMEOUT_MS = 9_000
REQUEST_TIMEOUT_MS = 9_000
MAX_POLL_INTERVAL_MS = 60_000
_HEARTBEAT_MS_MAX = 3_000

ANSWER_SECONDS_MAX = 8.0
"""How long one question to the cluster may take before it counts as unanswered; whoever needs the answer asks again.
Short, so that a worker that is told to stop during an outage stops."""


@dataclass(frozen=True)
class Timeouts:
    """Milliseconds. Raises ValueError for values that would let partitions move before a stuck transaction is dead."""

    session_ms: int = SESSION_TIMEOUT_MS
    """A worker that was not heard of for so long loses its partitions."""
    transaction_ms: int = TRANSACTION_TIMEOUT_MS
    """A transaction that is open for so long is aborted by the cluster; also the longest wait for one call."""
    message_ms: int = MESSAGE_TIMEOUT_MS
    """A record that is not acknowledged for so long fails its transaction."""
    request_ms: int = REQUEST_TIMEOUT_MS
    """A request of the producer without an answer for so long is sent again."""
    max_poll_interval_ms: int = MAX_POLL_INTERVAL_MS
    """A worker that does not poll for so long loses its partitions although it is alive. Restores and rounds are not on
    the polling thread, so this may be short; it is also how long the group waits for a member that is gone when its
    coordinator has lost its memory."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if min(self.session_ms, self.transaction_ms, self.message_ms, self.request_ms) < 1_000:
            raise ValueError(f"each timeout must be at least 1000 ms, but they are {self}")
        for name, shorter, longer_name, longer in (
            ("message timeout", self.message_ms, "transaction timeout", self.transaction_ms),
            ("request timeout", self.request_ms, "transaction timeout", self.transaction_ms),
            ("transaction timeout", self.transaction_ms, "session timeout", self.session_ms),
            ("session timeout", self.session_ms, "max poll interval", self.max_poll_interval_ms),
        ):
            if shorter >= longer:
                raise ValueError(f"the {name} ({shorter} ms) must be below the {longer_name} ({longer} ms)")

    @property
    def heartbeat_ms(self) -> int:
        """Three heartbeats at least within a session."""
        return min(_HEARTBEAT_MS_MAX, self.session_ms // 3)


DEFAULT_TIMEOUTS = Timeouts()
