#!/usr/bin/env bash
# What the Dockerfile describes, without a container: its entry point, command, account and health check
# are read from it and run on a directory laid out as its image would be. The build inside the image is not
# run; the binary is the one under test.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DOCKERFILE=$REPOSITORY/Dockerfile
IMAGE=$WORK/image
DATA=$IMAGE/data

# instruction NAME : the arguments of the last instruction of that name, one a line; of the array form,
# or of HEALTHCHECK's CMD, or the words as they stand
instruction() {
    python3 -c 'import json, re, sys
text = open(sys.argv[1]).read().replace("\\\n", " ")
found = [line.split(None, 1)[1] for line in text.splitlines() if line.split(None, 1)[:1] == [sys.argv[2]]]
if not found:
    sys.exit(f"the Dockerfile has no {sys.argv[2]}")
words = found[-1].split("CMD", 1)[-1].strip() if sys.argv[2] == "HEALTHCHECK" else found[-1]
print("\n".join(json.loads(words) if words.startswith("[") else words.split()))' "$DOCKERFILE" "$1"
}

# placed WORD... : paths of the image as they lie here, one a line
placed() {
    local word
    for word in "$@"; do
        case $word in
        /data*) echo "$IMAGE$word" ;;
        /*/tidings | /*/minio) echo "$IMAGE/bin/${word##*/}" ;;
        *) echo "$word" ;;
        esac
    done
}

step "the account is 1000, the data lies in a volume"
ACCOUNT=$(instruction USER)
ACCOUNT=${ACCOUNT%%:*}
expect_equal USER 1000 "$ACCOUNT"
expect_equal VOLUME /data "$(instruction VOLUME)"
expect_contains EXPOSE 9000 "$(instruction EXPOSE)"
expect_contains "the Dockerfile" "minio" "$(grep -E 'ln -s|COPY' "$DOCKERFILE")"

mkdir -p "$IMAGE/bin" "$DATA"
cp "$TIDINGS_BIN" "$IMAGE/bin/tidings"
ln -s tidings "$IMAGE/bin/minio"
chmod 755 "$WORK"
if ((EUID == 0)); then chown -R "$ACCOUNT:$ACCOUNT" "$IMAGE"; fi
ENDPOINT_ADDRESS=127.0.0.1:$(free_port)
ENDPOINT=http://$ENDPOINT_ADDRESS

# The account of the image, in its layout; an ordinary account runs it as itself.
AS_ACCOUNT=(env -i HOME="$IMAGE" PATH="$IMAGE/bin:/usr/bin:/bin" MINIO_ADDRESS="$ENDPOINT_ADDRESS")
if ((EUID == 0)); then AS_ACCOUNT=(setpriv --reuid "$ACCOUNT" --regid "$ACCOUNT" --clear-groups "${AS_ACCOUNT[@]}"); fi

mapfile -t health < <(instruction HEALTHCHECK)
mapfile -t health < <(placed "${health[@]}")
mapfile -t entry < <(instruction ENTRYPOINT)
mapfile -t command < <(instruction CMD)
mapfile -t whole < <(placed "${entry[@]}" "${command[@]}")

step "nothing answers yet: the health check fails"
if "${AS_ACCOUNT[@]}" "${health[@]}" 2>/dev/null; then say "the health check passed without a server"; false; fi

step "without arguments it serves /data"
"${AS_ACCOUNT[@]}" "${whole[@]}" >"$SERVER_LOG" 2>&1 9>&- &
SERVER_PID=$!
wait_for 30 "the server of the image" started_or_gone
"${AS_ACCOUNT[@]}" "${health[@]}"
stop_server

step "under the name of minio, as users of its image call it"
"${AS_ACCOUNT[@]}" minio server "$DATA" >"$SERVER_LOG" 2>&1 9>&- &
SERVER_PID=$!
wait_for 30 "the server of the image" started_or_gone
"${AS_ACCOUNT[@]}" "${health[@]}"
stop_server

step "a drive that cannot be written is named, with the account"
if ((EUID == 0)); then
    mkdir -p "$IMAGE/data2"
    chmod 755 "$IMAGE/data2"
    chown root:root "$IMAGE/data2"
    status=0
    said=$("${AS_ACCOUNT[@]}" tidings server "$IMAGE/data2" 2>&1) || status=$?
    expect_equal "its exit status" 1 "$status"
    expect_contains "what it says" "$IMAGE/data2" "$said"
    expect_contains "what it says" 1000 "$said"
fi
finish
