// Reads each line of messages.txt with Kafka's own classes and writes it back; says how many came out byte for byte.
// Lines of versions that the jar at hand doesn't know go to the second file, which the older jar is then given:
//
//   java -cp kafka-clients-4.4.0.jar:slf4j-api-1.7.36.jar CheckMessages.java messages.txt older.txt
//   java -cp kafka-clients-3.9.1.jar:slf4j-api-1.7.36.jar CheckMessages.java older.txt none.txt

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

public class CheckMessages {
    public static void main(String[] arguments) throws Exception {
        int same = 0;
        int different = 0;
        List<String> unknown = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] parts = line.split(" ", -1);
            short version = Short.parseShort(parts[1]);
            byte[] bytes = HexFormat.of().parseHex(parts[2]);
            Class<?> type = find(parts[0]);
            if (type == null || version < bound(type, "LOWEST") || version > bound(type, "HIGHEST")) {
                unknown.add(line);
            } else if (Arrays.equals(bytes, again(type, version, bytes))) {
                same++;
            } else {
                different++;
                System.out.println("DIFFERENT " + parts[0] + " " + version);
            }
        }
        Files.write(Path.of(arguments[1]), unknown);
        System.out.println(same + " the same, " + different + " different, " + unknown.size() + " unknown to this jar");
        System.exit(different == 0 ? 0 : 1);
    }

    private static Class<?> find(String name) {
        for (String candidate : List.of(name + "Data", name)) {
            try {
                return Class.forName("org.apache.kafka.common.message." + candidate);
            } catch (ClassNotFoundException absent) {
                continue;
            }
        }
        return null;
    }

    private static short bound(Class<?> type, String which) throws Exception {
        return type.getField(which + "_SUPPORTED_VERSION").getShort(null);
    }

    private static byte[] again(Class<?> type, short version, byte[] bytes) {
        try {
            ByteBuffer read = ByteBuffer.wrap(bytes);
            Message message = (Message) type.getConstructor(org.apache.kafka.common.protocol.Readable.class, short.class)
                    .newInstance(new ByteBufferAccessor(read), version);
            ObjectSerializationCache cache = new ObjectSerializationCache();
            ByteBuffer written = ByteBuffer.allocate(message.size(cache, version));
            message.write(new ByteBufferAccessor(written), cache, version);
            return read.hasRemaining() ? null : written.array();
        } catch (Exception error) {
            System.out.println(error + " " + error.getCause());
            return null;
        }
    }
}
