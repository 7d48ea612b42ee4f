#!/usr/bin/env bash
# Stock mc over eight drives: alias, buckets, copies, listings, pipe, mirror, find, stat, share,
# configuration, events, watch, removal.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# healed : what `mc admin heal --json` says it healed, of its output on standard input
healed() {
    python3 -c 'import json, sys
decoder, rest = json.JSONDecoder(), sys.stdin.read().strip()
while rest:
    item, end = decoder.raw_decode(rest)
    rest = rest[end:].strip()
    if item["type"] == "object" and item["before"]["online"] < item["after"]["online"]:
        drives = item["before"]["online"], item["after"]["online"]
        print("%s: %d drives held it, and %d since" % (item["name"], *drives))
    elif item["type"] == "summary":
        print(item["objects_healed"], "of", item["objects_scanned"])'
}

start_server 8

step "mc alias set, ready, admin info"
mc_alias home
expect_contains "mc ready" "ready" "$(mc ready home)"
info=$(mc admin info home)
expect_contains "mc admin info" "8 drives online" "$info"
expect_contains "mc admin info" "EC:4" "$info"

step "mc admin heal tells that nothing is being healed, and of every drive that it is whole"
expect_contains "mc admin heal" "No active healing is detected" "$(mc admin heal home)"
expect_equal "drives of mc admin heal" 8 "$(mc admin heal --all-drives --verbose home | grep -c ': OK')"

step "a bucket is made once; -p does not mind that it exists"
mc mb home/basics >/dev/null
if mc mb home/basics >/dev/null 2>&1; then say "a second mc mb succeeded"; false; fi
mc mb -p home/basics >/dev/null
expect_contains "mc ls" "basics/" "$(mc ls home)"

step "files go up and come down, small, empty, in parts, with a name that needs care"
mkdir -p "$WORK/tree/deeper"
printf 'roses are red' >"$WORK/tree/poem.txt"
: >"$WORK/tree/empty"
printf 'violets' >"$WORK/tree/deeper/ü b+c&d.txt"
head -c 40000000 /dev/urandom >"$WORK/tree/large.bin"
mc mirror --quiet "$WORK/tree" home/basics/tree >/dev/null
mc mirror --quiet home/basics/tree "$WORK/back" >/dev/null
diff -r "$WORK/tree" "$WORK/back"
expect_equal "mc cat" "roses are red" "$(mc cat home/basics/tree/poem.txt)"
printf 'from a pipe' | mc pipe home/basics/piped.txt >/dev/null
expect_equal "mc pipe" "from a pipe" "$(mc cat home/basics/piped.txt)"

step "metadata and stat"
mc cp --quiet --attr 'Cache-Control=max-age=60;color=red' "$WORK/tree/poem.txt" home/basics/attr.txt >/dev/null
stat=$(mc stat --json home/basics/attr.txt)
expect_contains "mc stat" '"X-Amz-Meta-Color":"red"' "$stat"
expect_contains "mc stat" '"size":13' "$stat"

step "listings: folded, recursive, versions, find, du"
expect_equal "mc ls" "deeper/ empty large.bin poem.txt" "$(mc ls --json home/basics/tree/ | json_field key | sort | tr '\n' ' ' | sed 's/ $//')"
expect_equal "mc ls -r" 6 "$(mc ls -r home/basics | wc -l)"
expect_equal "mc ls --versions" 6 "$(mc ls -r --versions home/basics | wc -l)"
expect_equal "mc find" "home/basics/tree/large.bin" "$(mc find home/basics --name '*.bin')"

step "mc admin heal -r finds what a drive lost and repairs it"
heal() { mc admin heal --json --recursive "$@" home/basics/tree/; }
# A scrub may find it first: then it is lost again.
lose() { find "$WORK/drives/d3/shard" -type f -delete; }
lost_and_healed() {
    lose
    expect_equal "healed by a dry run" "0 of 4" "$(heal --dry-run | healed)"
    lose
    test "$(heal | healed)" = "basics/tree/large.bin: 7 drives held it, and 8 since
1 of 4"
}
wait_for 30 "mc admin heal -r" lost_and_healed
expect_equal "healed when all is whole" "0 of 4" "$(heal --scan deep | healed)"
quiet=$(mc admin heal --quiet --recursive home/basics/tree/)
expect_contains "mc admin heal --quiet" "[Green  ->  Green] basics/tree/large.bin" "$quiet"
stopped=$(mc admin heal --force-stop home/basics/tree/)
expect_contains "mc admin heal --force-stop" "Heal stopped successfully" "$stopped"

step "copy and move within the store"
mc cp --quiet home/basics/piped.txt home/basics/copied.txt >/dev/null
mc mv --quiet home/basics/copied.txt home/basics/moved.txt >/dev/null
expect_equal "moved" "from a pipe" "$(mc cat home/basics/moved.txt)"
expect_equal "the source is gone" "" "$(mc ls home/basics/copied.txt)"

step "a shared address"
expect_equal "mc share download" "from a pipe" "$(curl -sf "$(mc share download --json home/basics/moved.txt | json_field share)")"

step "the configuration is set, shown and reset; a target that is away is stored and usable at once"
said=$(mc admin config set home notify_webhook:away endpoint=http://127.0.0.1:9/ queue_limit=10)
expect_contains "mc admin config set" "Successfully applied" "$said"
expect_contains "mc admin config get" "endpoint=http://127.0.0.1:9/" "$(mc admin config get home notify_webhook:away)"
mc event add home/basics arn:minio:sqs::away:webhook --event put,delete --prefix tree/ --suffix .jpg
expect_equal "mc event list" 'arn:minio:sqs::away:webhook   s3:ObjectCreated:*,s3:ObjectRemoved:*   Filter: prefix="tree/"suffix=".jpg"' \
    "$(mc event list home/basics)"
mc event remove home/basics --force
expect_equal "no rule is left" "" "$(mc event list home/basics)"
mc admin config reset home notify_webhook:away >/dev/null

step "mc watch tells what happens"
in_background "$TIDINGS_MC" --insecure watch --json --prefix heard/ home/basics >"$WORK/heard"
# The stream is open when its first record arrives; until then a first object is written again.
hear_first() { printf x | mc pipe home/basics/heard/first >/dev/null && sleep 0.2 && test -s "$WORK/heard"; }
wait_for 20 "mc watch" hear_first
mc cp --quiet "$WORK/tree/poem.txt" home/basics/heard/poem.txt >/dev/null
mc rm home/basics/heard/poem.txt >/dev/null
wait_for 20 "the removal" grep -q ObjectRemoved "$WORK/heard"
# mc looks whether the key exists before it writes or removes; that is a HEAD and heard as one.
expect_equal "what was written and removed" "s3:ObjectCreated:Put heard/poem.txt
s3:ObjectRemoved:Delete heard/poem.txt" "$(watched "$WORK/heard" | grep poem.txt | grep -v Accessed)"

step "removal"
mc rm --recursive --force home/basics/tree >/dev/null
expect_equal "mc ls of what was removed" "" "$(mc ls home/basics/tree)"
mc rb --force home/basics >/dev/null
expect_equal "no bucket is left" "" "$(mc ls home)"
finish
