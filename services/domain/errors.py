"""Errors that a service may catch although an adapter raises them."""

from __future__ import annotations


class MessageInvalid(ValueError):
    """A message to the outside breaks its format, so it must not be sent. The text names the element."""

    def __init__(self, *, element: str, found: str, expected: str) -> None:
        """Say where (path of element names), what stands there, and what the format asks for."""
        super().__init__(f"{element} was {found!r}: {expected}")
        self.element = element
        self.found = found
        self.expected = expected


class DecodeError(ValueError):
    """A value from the log cannot be read as an event; it goes to `dead-letters`.

    The message is one sentence and never holds payload: it is written to logs and headers that more people can see than
    the topic.
    """


class NotAMessageError(DecodeError):
    """The value is no message of its topic, whatever release reads it: empty, cut off, damaged, of another kind.

    Nothing is lost by going on with its key: a sender repeats such a message, and the repetition must not wait for it.
    """


class SchemaUnknownError(DecodeError):
    """The value was written with a schema this release does not have: a newer producer, so upgrade and replay."""


class EncodeError(ValueError):
    """An event cannot be written as its schema says: our own bug. The message names the field, never its value."""
