// Prints every setting that Kafka's own tables of definitions name, by whose it is, as kafka_names.txt has them:
//
//   java -cp 'kafka_2.13-4.3.1/libs/*' KafkaNames.java | sort > 4.3.1
//   java -cp 'kafka_2.13-4.4.0/libs/*' KafkaNames.java | sort > 4.4.0
//   comm -12 4.3.1 4.4.0; comm -13 4.3.1 4.4.0 | sed 's/$/ 4.4/'
//
// where each folder of jars is what `mvn dependency:copy-dependencies` brings for org.apache.kafka:kafka_2.13 of that version.

import java.util.Collection;
import org.apache.kafka.coordinator.group.GroupConfig;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.metrics.ClientMetricsConfigs;
import org.apache.kafka.storage.internals.log.LogConfig;

public class KafkaNames {
    public static void main(String[] arguments) {
        print("broker", AbstractKafkaConfig.CONFIG_DEF.names());
        print("topic", LogConfig.configNames());
        print("group", GroupConfig.configNames());
        print("client-metrics", ClientMetricsConfigs.configDef().names());
    }

    static void print(String scope, Collection<String> names) {
        names.forEach(name -> System.out.println(scope + " " + name));
    }
}
