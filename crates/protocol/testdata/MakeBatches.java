// Writes batches.txt: record batches as Kafka's own classes make them, one of each codec, a transaction's and its marker.
//
//   java -cp kafka-clients-4.4.0.jar:slf4j-api-1.7.36.jar:snappy-java.jar:lz4-java.jar:zstd-jni.jar MakeBatches.java > batches.txt

import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;

public class MakeBatches {
    public static void main(String[] arguments) {
        Header[] headers = {new RecordHeader("trace", "abc".getBytes()), new RecordHeader("empty", null)};
        SimpleRecord[] records = {
            new SimpleRecord(1_700_000_000_000L, "key".getBytes(), "value".repeat(20).getBytes(), headers),
            new SimpleRecord(1_700_000_000_007L, null, "second".getBytes()),
            new SimpleRecord(1_699_999_999_999L, "tombstone".getBytes(), null),
        };
        for (CompressionType codec : CompressionType.values()) {
            print(codec.name, MemoryRecords.withRecords(100L, Compression.of(codec).build(), 5, records));
        }
        print("transactional",
                MemoryRecords.withTransactionalRecords(200L, Compression.NONE, 77L, (short) 3, 9, 5, records));
        print("marker", MemoryRecords.withEndTransactionMarker(
                203L, 1_700_000_000_009L, 5, 77L, (short) 3, new EndTransactionMarker(ControlRecordType.COMMIT, 1)));
    }

    private static void print(String name, MemoryRecords records) {
        ByteBuffer buffer = records.buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        System.out.println(name + " " + HexFormat.of().formatHex(bytes));
    }
}
