"""One codec for all topics: each value is read and written by its topic's format.

Records that one service of a worker hands over to another need not be decoded again (`decode_memo`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from services.adapters import fix
from services.adapters.avro_codec import AvroCodec
from services.adapters.decode_memo import DecodeMemo, Shelf
from services.domain.errors import DecodeError, EncodeError, NotAMessageError
from services.domain.event import SettlementMessage
from services.domain.record import Record
from services.topics import TopicFormat, TopicSpecification

Decode = Callable[[bytes | None], Record]
Encode = Callable[[Record], bytes]


class FormatCodec:
    """The engine's `TopicCodec`, built from the topics' specifications."""

    def __init__(
        self,
        topics: Mapping[str, TopicSpecification],
        avro: AvroCodec | None = None,
        *,
        handed_over: Collection[str] = (),
    ) -> None:
        """Choose reader and writer of every topic once. `handed_over`: see `handing_over`."""
        self.avro = avro or AvroCodec()
        self._topics = topics
        self._decoders: dict[str, Decode] = {}
        self._encoders: dict[str, Encode] = {}
        for name, topic in topics.items():
            self._add(name, topic)
        for name, shelf in DecodeMemo(handed_over).shelves.items():
            self._remember(name, shelf)

    def handing_over(self, topics: Collection[str]) -> FormatCodec:
        """The same codec for a process that writes these Avro topics and reads them, too.

        What is encoded for one of them is kept until it is decoded, within the bound of `decode_memo.MEMO_BYTES`.
        """
        return FormatCodec(self._topics, self.avro, handed_over=topics)

    def _add(self, name: str, topic: TopicSpecification) -> None:
        if topic.format is TopicFormat.AVRO:
            self._decoders[name] = self._avro_decoder(topic)
            self._encoders[name] = self._avro_encoder(topic)
        elif topic.format is TopicFormat.FIX:
            self._decoders[name] = _decode_fix
        elif topic.format is TopicFormat.XML:
            self._encoders[name] = _encode_message

    def _avro_decoder(self, topic: TopicSpecification) -> Decode:
        record_type = topic.record_type
        if record_type is None:
            raise ValueError(f"topic {topic.name} is Avro but names no record")
        decode = self.avro.decode
        if any(producer.startswith("external: ") for producer in topic.producers):
            return lambda value: decode(value, record_type)

        def from_ourselves(value: bytes | None) -> Record:
            try:
                return decode(value, record_type)
            except NotAMessageError as error:  # nobody repeats what our own services wrote: its key must wait
                raise DecodeError(str(error)) from None

        return from_ourselves

    def _avro_encoder(self, topic: TopicSpecification) -> Encode:
        record_type, encode = topic.record_type, self.avro.encode

        def checked(event: Record) -> bytes:
            if type(event) is not record_type:
                raise EncodeError(f"{topic.name} takes {record_type}, not {type(event).__name__}")
            return encode(event)

        return checked

    def _remember(self, name: str, shelf: Shelf) -> None:
        """Spare a topic the decoding of what was encoded here."""
        decode, encode, as_read = self._decoders[name], self._encoders[name], self.avro.as_read

        def encode_and_keep(event: Record) -> bytes:
            value = encode(event)
            shelf.keep(value, event)
            return value

        def find_or_decode(value: bytes | None) -> Record:
            if value is None or shelf.is_empty:
                return decode(value)
            written = shelf.take(value)
            read = None if written is None else as_read(written)
            return decode(value) if read is None else read

        self._decoders[name], self._encoders[name] = find_or_decode, encode_and_keep

    def decode(self, topic: str, value: bytes | None) -> Record:
        """Read a value; raises DecodeError."""
        decoder = self._decoders.get(topic)
        if decoder is None:
            raise DecodeError(f"topic {topic} is not read as events")
        return decoder(value)

    def encode(self, topic: str, event: Record) -> bytes:
        """Write a value; raises EncodeError."""
        encoder = self._encoders.get(topic)
        if encoder is None:
            raise EncodeError(f"topic {topic} is not written by a service")
        return encoder(event)


def _decode_fix(value: bytes | None) -> Record:
    if not value:
        raise NotAMessageError("value was empty")
    return fix.decode(value)


def _encode_message(event: Record) -> bytes:
    if not isinstance(event, SettlementMessage):
        raise EncodeError(f"a message topic takes SettlementMessage, not {type(event).__name__}")
    return event.text.encode()
