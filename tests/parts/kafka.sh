#!/usr/bin/env bash
# Apache Kafka, one node that is broker and controller (KRaft), run from the jars of Maven Central.
#
# kafka.sh start                    starts it with the data it had; prints its listeners
# kafka.sh stop                     stops it, data kept
# kafka.sh wipe                     stops it and removes its data
# kafka.sh topic NAME [PARTITIONS]  creates a topic (1 partition); an existing one is left as it is
# kafka.sh records TOPIC            prints what the topic holds now, `partition<TAB>key<TAB>value` a line
# kafka.sh headers TOPIC            prints the headers of what it holds, `name=value,name=value` a line
# kafka.sh install                  fetches the jars (once, into the cache)
# kafka.sh packages                 Debian packages it needs
#
# Four listeners (ports in common.sh): plain, password, TLS, TLS and password. The passwords are
# checked by PLAIN and by both SCRAM mechanisms. Topics are never created by being written to, so a
# missing topic is an error, as in most production clusters. The Debian kcat used by `records` cannot
# log in by SCRAM; it reads the plain listener.
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

VERSION=4.3.1
JARS=$TIDINGS_TESTS_CACHE/kafka-$VERSION
STATE=$PARTS/kafka
# Small and quick to start: the broker serves one test at a time.
JVM=(java -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$JARS/libs/*")

fetch_jars() {
    [[ -e $JARS/complete ]] && return
    rm -rf "$JARS"
    mkdir -p "$JARS"
    cat >"$JARS/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidings.tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$JARS/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$JARS/libs" >&2
    touch "$JARS/complete"
}

install() { one_at_a_time kafka-install fetch_jars; }

# logins LISTENER : the three ways in on a listener with passwords
logins() {
    local security=org.apache.kafka.common.security
    cat <<CONF
listener.name.$1.plain.sasl.jaas.config=$security.plain.PlainLoginModule required user_$PARTS_USER="$PARTS_PASSWORD";
listener.name.$1.scram-sha-256.sasl.jaas.config=$security.scram.ScramLoginModule required;
listener.name.$1.scram-sha-512.sasl.jaas.config=$security.scram.ScramLoginModule required;
CONF
}

configure() {
    local host=127.0.0.1
    mkdir -p "$STATE"
    cat >"$STATE/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$host:$KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$host:$KAFKA_PORT,SASL_PLAINTEXT://$host:$KAFKA_SASL_PORT,SSL://$host:$KAFKA_TLS_PORT,SASL_SSL://$host:$KAFKA_SASL_TLS_PORT,CONTROLLER://$host:$KAFKA_CONTROLLER_PORT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
$(logins sasl_plaintext)
$(logins sasl_ssl)
ssl.keystore.type=PEM
ssl.keystore.location=$CERTS_DIR/server-chain.pem
ssl.truststore.type=PEM
ssl.truststore.location=$CA_CERT
ssl.client.auth=requested
log.dirs=$STATE/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
CONF
}

# A data directory is formatted once; the passwords of SCRAM are part of it.
format() {
    [[ -e $STATE/data/meta.properties ]] && return
    "${JVM[@]}" kafka.tools.StorageTool format -t dGlkaW5ncy10ZXN0cy0wMQ -c "$STATE/server.properties" \
        -S "SCRAM-SHA-256=[name=$PARTS_USER,password=$PARTS_PASSWORD]" \
        -S "SCRAM-SHA-512=[name=$PARTS_USER,password=$PARTS_PASSWORD]" \
        >"$PARTS/log/kafka-format.log" 2>&1 || { cat "$PARTS/log/kafka-format.log" >&2; return 1; }
}

listening() {
    local port
    for port in "$KAFKA_PORT" "$KAFKA_SASL_PORT" "$KAFKA_TLS_PORT" "$KAFKA_SASL_TLS_PORT"; do port_open "$port" || return 1; done
}

start_once() {
    if ! alive kafka; then
        configure
        format
        spawn kafka "${JVM[@]}" kafka.Kafka "$STATE/server.properties"
    fi
    wait_to_start Kafka listening kafka
}

start() {
    install
    "$here/certs.sh" make
    one_at_a_time kafka start_once
    cat <<TEXT
plain      127.0.0.1:$KAFKA_PORT
sasl       127.0.0.1:$KAFKA_SASL_PORT  $PARTS_USER / $PARTS_PASSWORD, PLAIN SCRAM-SHA-256 SCRAM-SHA-512
tls        127.0.0.1:$KAFKA_TLS_PORT  authority $CA_CERT
sasl+tls   127.0.0.1:$KAFKA_SASL_TLS_PORT
TEXT
}

stop() { one_at_a_time kafka halt kafka; }

wipe() {
    stop
    rm -rf "$STATE"
}

topic() {
    "${JVM[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$KAFKA_PORT" \
        --create --if-not-exists --topic "$1" --partitions "${2:-1}" --replication-factor 1 2>&1 | grep -v '^$' >&2
}

records() { kcat -q -C -b "127.0.0.1:$KAFKA_PORT" -t "$1" -o beginning -e -f '%p\t%k\t%s\n'; }

headers() { kcat -q -C -b "127.0.0.1:$KAFKA_PORT" -t "$1" -o beginning -e -f '%h\n'; }

packages() { echo default-jdk-headless maven openssl kcat; }

case ${1:-} in
start | stop | wipe | topic | records | headers | install | packages) "$@" ;;
*) say "usage: kafka.sh start | stop | wipe | topic NAME [PARTITIONS] | records TOPIC | headers TOPIC | install | packages"; exit 2 ;;
esac
