#!/usr/bin/env bash
# Elasticsearch, one node, run from the server's own jars of Maven Central, since its distribution is no package; and
# nginx from Debian in front of it for what the jars alone do not have: TLS and passwords.
#
# elasticsearch.sh start         starts both with the data they had; prints their addresses
# elasticsearch.sh stop | crash  ends both with SIGTERM or SIGKILL, data kept
# elasticsearch.sh documents INDEX  prints what the index holds in the order of arrival, `id<TAB>document` a line
# elasticsearch.sh install       fetches the jars (once, into the cache)
# elasticsearch.sh packages      Debian packages they need
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/common.sh"

VERSION=7.17.28
LOG4J_VERSION=2.17.1 # that of the log4j-api which this version names
JARS=$TIDINGS_TESTS_CACHE/elasticsearch-$VERSION
STATE=$PARTS/elasticsearch
JVM=(java -Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.disable.jmx=true)

fetch_jars() {
    [[ -e $JARS/complete ]] && return
    rm -rf "$JARS"
    mkdir -p "$JARS"
    cat >"$JARS/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidings.tests</groupId><artifactId>elasticsearch</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.elasticsearch</groupId><artifactId>elasticsearch</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.elasticsearch.plugin</groupId><artifactId>transport-netty4-client</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$LOG4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$JARS/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$JARS/libs" >&2
    cp "$here/ElasticsearchNode.java" "$JARS/"
    javac -cp "$JARS/libs/*" -d "$JARS/classes" "$JARS/ElasticsearchNode.java"
    touch "$JARS/complete"
}

install() { one_at_a_time elasticsearch-install fetch_jars; }

configure() {
    mkdir -p "$STATE/home/config" "$STATE/nginx"
    printf '%s:%s\n' "$PARTS_USER" "$(openssl passwd -apr1 "$PARTS_PASSWORD")" >"$STATE/nginx/passwords"
    cat >"$STATE/nginx/nginx.conf" <<CONF
daemon off;
# One process: a worker would outlive a master that is killed.
master_process off;
# Its account of its own could not read the keys; an ordinary account ignores this.
user $(id -un);
pid $STATE/nginx/pid;
error_log stderr;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $STATE/nginx/body;
    proxy_temp_path $STATE/nginx/proxy;
    fastcgi_temp_path $STATE/nginx/fastcgi;
    uwsgi_temp_path $STATE/nginx/uwsgi;
    scgi_temp_path $STATE/nginx/scgi;
    server {
        listen 127.0.0.1:$ELASTICSEARCH_TLS_PORT ssl;
        ssl_certificate $SERVER_CERT;
        ssl_certificate_key $SERVER_KEY;
        auth_basic parts;
        auth_basic_user_file $STATE/nginx/passwords;
        location / {
            proxy_pass http://127.0.0.1:$ELASTICSEARCH_PORT;
            # The login is for nginx.
            proxy_set_header Authorization "";
        }
    }
}
CONF
}

healthy() {
    curl -fsS "127.0.0.1:$ELASTICSEARCH_PORT/_cluster/health?wait_for_status=yellow&timeout=1s" && port_open "$ELASTICSEARCH_TLS_PORT"
}

start_once() {
    alive elasticsearch && alive elasticsearch-nginx || configure
    alive elasticsearch ||
        spawn elasticsearch "${JVM[@]}" -Des.path.home="$STATE/home" -cp "$JARS/classes:$JARS/libs/*" ElasticsearchNode "$STATE/home" "$ELASTICSEARCH_PORT"
    alive elasticsearch-nginx ||
        spawn elasticsearch-nginx nginx -c "$STATE/nginx/nginx.conf" -p "$STATE/nginx" -e stderr
    wait_to_start Elasticsearch healthy elasticsearch elasticsearch-nginx
}

start() {
    install
    "$here/certs.sh" make
    one_at_a_time elasticsearch start_once
    cat <<TEXT
clear  http://127.0.0.1:$ELASTICSEARCH_PORT
tls    https://localhost:$ELASTICSEARCH_TLS_PORT  $PARTS_USER / $PARTS_PASSWORD, authority $CA_CERT
TEXT
}

halt_both() {
    halt elasticsearch-nginx "$@"
    halt elasticsearch "$@"
}

stop() { one_at_a_time elasticsearch halt_both; }

crash() { one_at_a_time elasticsearch halt_both KILL; }

documents() {
    local index=127.0.0.1:$ELASTICSEARCH_PORT/$1
    curl -fsS -XPOST "$index/_refresh" >/dev/null 2>&1 || return 0
    # An index without documents cannot be sorted.
    [[ $(curl -fsS "$index/_count") != '{"count":0,'* ]] || return 0
    curl -fsS "$index/_search?size=10000&sort=_seq_no:asc" |
        python3 -c 'import json, sys
for hit in json.load(sys.stdin)["hits"]["hits"]: print(hit["_id"], json.dumps(hit["_source"]), sep="\t")'
}

packages() { echo curl default-jdk-headless maven nginx-light openssl python3; }

case ${1:-} in
start | stop | crash | documents | install | packages) "$@" ;;
*) say "usage: elasticsearch.sh start | stop | crash | documents INDEX | install | packages"; exit 2 ;;
esac
