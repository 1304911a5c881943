package posttrade.bench;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;
import posttrade.CapturedTrade;

/** How a row of the state is written: the problem, then each trade as it came. Rows are rare. */
final class WaitingTradeFormat implements Serde<WaitingTrade> {
    private final AvroFormat<CapturedTrade> trades = new AvroFormat<>(CapturedTrade.class);

    @Override
    public Serializer<WaitingTrade> serializer() {
        return this::write;
    }

    @Override
    public Deserializer<WaitingTrade> deserializer() {
        return this::read;
    }

    private byte[] write(String topic, WaitingTrade row) {
        if (row == null) {
            return null;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeUTF(row.problem().reason().name());
            out.writeInt(row.problem().details().size());
            for (Map.Entry<String, String> detail : row.problem().details().entrySet()) {
                out.writeUTF(detail.getKey());
                out.writeUTF(detail.getValue());
            }
            out.writeInt(row.trades().size());
            for (CapturedTrade trade : row.trades()) {
                byte[] value = trades.serialize(topic, trade);
                out.writeInt(value.length);
                out.write(value);
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    private WaitingTrade read(String topic, byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            Reason reason = Reason.valueOf(in.readUTF());
            int detailCount = in.readInt();
            Map<String, String> details = new LinkedHashMap<>();
            for (int index = 0; index < detailCount; index++) {
                details.put(in.readUTF(), in.readUTF());
            }
            int tradeCount = in.readInt();
            List<CapturedTrade> found = new ArrayList<>(tradeCount);
            for (int index = 0; index < tradeCount; index++) {
                found.add(trades.deserialize(topic, in.readNBytes(in.readInt())));
            }
            return new WaitingTrade(found, new Problem(reason, details));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
