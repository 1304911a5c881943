package posttrade.bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.Arrays;
import java.util.HexFormat;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DatumReader;
import org.apache.avro.io.DatumWriter;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificData;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/**
 * Reads and writes one record type in Avro's single-object encoding (schemas/README.md): C3 01, the fingerprint of the
 * schema, the body.
 *
 * <p>Kafka Streams shares one serde among its threads, so everything that is used again from record to record belongs
 * to a thread.
 */
final class AvroFormat<T extends SpecificRecord> implements Serde<T>, Serializer<T>, Deserializer<T> {
    private static final int MARKER_BYTES = 2;
    private static final int BUFFER_BYTES = 1024;

    private final byte[] header;
    private final String name;
    private final ThreadLocal<Coder<T>> coders;

    AvroFormat(Class<T> type) {
        Schema schema = SpecificData.get().getSchema(type);
        name = schema.getName();
        header = header(schema);
        coders = ThreadLocal.withInitial(() -> new Coder<>(type, schema));
    }

    private static byte[] header(Schema schema) {
        long fingerprint = SchemaNormalization.parsingFingerprint64(schema);
        byte[] header = new byte[MARKER_BYTES + Long.BYTES];
        header[0] = (byte) 0xC3;
        header[1] = 0x01;
        for (int index = 0; index < Long.BYTES; index++) {
            header[MARKER_BYTES + index] = (byte) (fingerprint >>> (8 * index));
        }
        return header;
    }

    @Override
    public byte[] serialize(String topic, T value) {
        if (value == null) {
            return null;
        }
        Coder<T> coder = coders.get();
        try {
            ByteArrayOutputStream out = coder.out;
            out.reset();
            out.write(header, 0, header.length);
            coder.writer.write(value, coder.encoder);
            coder.encoder.flush();
            return out.toByteArray();
        } catch (IOException | AvroRuntimeException | ClassCastException error) {
            throw new SerializationException("a record of " + topic + " is no " + name, error);
        }
    }

    @Override
    public T deserialize(String topic, byte[] bytes) {
        if (bytes == null) {
            throw new SerializationException("a value of " + topic + " was empty, expected " + name);
        }
        if (bytes.length < header.length || !Arrays.equals(bytes, 0, header.length, header, 0, header.length)) {
            throw new SerializationException(
                    "a value of " + topic + " does not begin with " + HexFormat.of().formatHex(header) + ", as " + name
                            + " does");
        }
        Coder<T> coder = coders.get();
        try {
            coder.decoder = DecoderFactory.get()
                    .binaryDecoder(bytes, header.length, bytes.length - header.length, coder.decoder);
            T value = coder.reader.read(null, coder.decoder);
            if (!coder.decoder.isEnd()) {
                throw new SerializationException("a value of " + topic + " goes on after its " + name);
            }
            return value;
        } catch (IOException | AvroRuntimeException error) {
            throw new SerializationException("a value of " + topic + " is no " + name, error);
        }
    }

    @Override
    public Serializer<T> serializer() {
        return this;
    }

    @Override
    public Deserializer<T> deserializer() {
        return this;
    }

    // Serde, Serializer and Deserializer each have their own of these two.
    @Override
    public void configure(java.util.Map<String, ?> settings, boolean isKey) {
        // nothing to set
    }

    @Override
    public void close() {
        // nothing is held
    }

    private static final class Coder<T extends SpecificRecord> {
        private final DatumReader<T> reader;
        private final DatumWriter<T> writer;
        private final ByteArrayOutputStream out = new ByteArrayOutputStream(BUFFER_BYTES);
        private final BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        private BinaryDecoder decoder;

        @SuppressWarnings("unchecked") // Avro's model knows the type by its schema alone
        private Coder(Class<T> type, Schema schema) {
            SpecificData model = SpecificData.getForClass(type); // with the conversions of the type's decimals and dates
            reader = model.createDatumReader(schema);
            writer = model.createDatumWriter(schema);
        }
    }
}
