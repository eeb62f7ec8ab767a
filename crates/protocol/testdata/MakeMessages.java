// Writes messages_of_old.txt: the message sets of formats 0 and 1 as Kafka's own classes make them, those that its producers sent, and those
// that its brokers made of stored batches. A line is what it is, the format, the codec, and the bytes.
//
//   java -cp kafka-clients-3.9.1.jar:slf4j-api-1.7.36.jar:snappy-java.jar:lz4-java.jar MakeMessages.java > messages_of_old.txt
//
// With an argument it reads such lines instead, and tells what Kafka's classes find in them: an offset, a time, its kind, key and value each.

import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import java.util.Scanner;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.MutableRecordBatch;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.SimpleRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.Time;

public class MakeMessages {
    static final Header[] HEADERS = {new RecordHeader("trace", "abc".getBytes()), new RecordHeader("empty", null)};
    static final SimpleRecord[] RECORDS = {
        new SimpleRecord(1_700_000_000_000L, "key".getBytes(), "value".repeat(20).getBytes(), HEADERS),
        new SimpleRecord(1_700_000_000_007L, null, "second".getBytes()),
        new SimpleRecord(1_699_999_999_999L, "tombstone".getBytes(), null),
        new SimpleRecord(1_700_000_000_001L, new byte[0], new byte[0]),
    };
    static final List<CompressionType> CODECS =
            List.of(CompressionType.NONE, CompressionType.GZIP, CompressionType.SNAPPY, CompressionType.LZ4);
    static final long STAMP = 1_700_000_009_000L;

    public static void main(String[] arguments) {
        if (arguments.length > 0) {
            read();
            return;
        }
        for (byte magic = 0; magic < 2; magic++) {
            for (CompressionType codec : CODECS) {
                print("produced", magic, codec, set(magic, codec, TimestampType.CREATE_TIME, 0));
                print("fetched", magic, codec, stored(codec, TimestampType.CREATE_TIME).downConvert(magic, 100L, Time.SYSTEM).records());
                print("stamped", magic, codec, stored(codec, TimestampType.LOG_APPEND_TIME).downConvert(magic, 100L, Time.SYSTEM).records());
            }
        }
        print("stored", 2, CompressionType.NONE, stored(CompressionType.NONE, TimestampType.CREATE_TIME));
    }

    static MemoryRecords set(byte magic, CompressionType codec, TimestampType type, long offset) {
        MemoryRecordsBuilder builder =
                MemoryRecords.builder(ByteBuffer.allocate(1024), magic, Compression.of(codec).build(), type, offset, STAMP);
        for (SimpleRecord record : RECORDS) {
            if (magic < 2) builder.append(record.timestamp(), record.key(), record.value());
            else builder.append(record);
        }
        return builder.build();
    }

    static MemoryRecords stored(CompressionType codec, TimestampType type) {
        return set((byte) 2, codec, type, 100);
    }

    static void print(String what, int magic, CompressionType codec, MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        System.out.println(what + " " + magic + " " + codec.name + " " + HexFormat.of().formatHex(bytes));
    }

    static void read() {
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            String[] words = lines.nextLine().split(" ");
            MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HexFormat.of().parseHex(words[3])));
            StringBuilder told = new StringBuilder(words[0] + " " + words[1] + " " + words[2]);
            for (MutableRecordBatch batch : records.batches()) {
                batch.ensureValid();
                for (Record record : batch) {
                    record.ensureValid();
                    told.append(" ").append(record.offset()).append(",").append(record.timestamp()).append(",");
                    told.append(record.hasTimestampType(TimestampType.LOG_APPEND_TIME) ? "stamped" : "own");
                    told.append(",").append(text(record.key())).append(",").append(text(record.value()));
                }
            }
            System.out.println(told);
        }
    }

    static String text(ByteBuffer bytes) {
        if (bytes == null) return "null";
        byte[] copy = new byte[bytes.remaining()];
        bytes.get(copy);
        return "'" + new String(copy) + "'";
    }
}
