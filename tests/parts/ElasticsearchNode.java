import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** One Elasticsearch node with its REST interface: `ElasticsearchNode HOME PORT`. Runs until it is killed. */
public class ElasticsearchNode extends Node {
    private ElasticsearchNode(Environment environment) {
        super(environment, List.of(Netty4Plugin.class), false);
    }

    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]);
        int port = Integer.parseInt(arguments[1]);
        Path configuration = Files.createDirectories(home.resolve("config"));
        Settings settings = Settings.builder()
            .put("path.home", home.toString())
            .put("network.host", "127.0.0.1")
            .put("http.port", port)
            .put("transport.port", port + 100)
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("cluster.name", "tidings-parts")
            .put("node.name", "one")
            .put("discovery.type", "single-node")
            // A test machine is rarely empty enough for the defaults.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        ElasticsearchNode node =
            new ElasticsearchNode(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), configuration, () -> "one"));
        node.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        Thread.currentThread().join();
    }
}
