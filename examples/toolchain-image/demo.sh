#!/bin/bash
# What happens to a long build when something goes wrong, on a copy of this example in demo/, with a
# registry on this machine. Each build is on a machine that has built nothing: it has an empty store,
# and what it finds comes from the registry. Everything takes about twelve minutes on two processors;
# each part can be had alone.
# usage: ./demo.sh [fail] [kill] [edit] [machines] [add] [down] [budget]
set -euo pipefail
cd "$(dirname "$0")"
ashlar=${ASHLAR:-ashlar}
command -v "$ashlar" >/dev/null || {
    echo "demo: there is no $ashlar; say ASHLAR=…/target/release/ashlar ./demo.sh" >&2
    exit 1
}
command -v docker-registry >/dev/null || {
    echo "demo: there is no registry; install the Debian package docker-registry" >&2
    exit 1
}
ashlar=$(realpath "$(command -v "$ashlar")")
./prepare

demo=$PWD/demo
project=$demo/project
mkdir -p "$project"
rm -rf "$project/scripts" "$project/Dockerfile"
cp -r Dockerfile .dockerignore scripts "$project/"
# Sources and the base are not copied, but not linked to either: links out of a context lead nowhere.
for one in base sources; do
    rm -rf "${project:?}/$one"
    cp -al "$one" "$project/"
done
cd "$project"

say() {
    printf '\n\033[1m== %s\033[0m\n' "$*"
}

# The registry is the same each time, at another port.
registry=
port=$((20000 + RANDOM % 10000))
start_registry() {
    cat >"$demo/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $demo/registry}}
http: {addr: "127.0.0.1:$port"}
END
    docker-registry serve "$demo/registry.yml" >"$demo/registry.log" 2>&1 &
    registry=$!
    until (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do
        kill -0 $registry 2>/dev/null || {
            cat "$demo/registry.log" >&2
            exit 1
        }
        sleep 0.1
    done
}
stop_registry() {
    [ -n "$registry" ] || return 0
    kill $registry 2>/dev/null || true
    wait $registry 2>/dev/null || true
    registry=
}
trap stop_registry EXIT
start_registry
cache=toolchain

machine() {
    rm -rf "$demo/store"
}

image_build() { # ARGUMENTS…
    "$ashlar" --store "$demo/store" --remote "team=oci://127.0.0.1:$port/$cache" image build "$@" .
}

build() { # ARGUMENTS…
    local code=0 begun=$SECONDS
    image_build "$@" || code=$?
    echo "-- exit code $code after $((SECONDS - begun)) s"
    return $code
}

# Builds in the background until an instruction is at work, and kills it.
kill_at() { # TEXT
    local log=$demo/log
    # `exec` makes the process that is killed the program itself.
    (exec "$ashlar" --store "$demo/store" --remote "team=oci://127.0.0.1:$port/$cache" image build .) \
        >"$log" 2>&1 &
    local process=$!
    until grep -q "^building.*$1" "$log"; do
        kill -0 $process 2>/dev/null || {
            cat "$log"
            echo "demo: the build ended before $1 was at work" >&2
            exit 1
        }
        sleep 0.2
    done
    sleep 3
    kill -9 $process
    wait $process 2>/dev/null || true
    cat "$log"
    echo "-- killed"
}

fail() {
    say "a mistake in the last script: everything before it is kept"
    sed -i 's/^hide_output make install$/hide_output make instal/' scripts/build-gawk.sh
    machine
    build && exit 1
    say "the mistake is gone: only what failed is done again"
    sed -i 's/^hide_output make instal$/hide_output make install/' scripts/build-gawk.sh
    machine
    build
    say "nothing has changed"
    machine
    build
}

killed() {
    say "kill -9 while the last package is at work"
    sed -i '$a # killed in the middle' scripts/build-openssl.sh
    machine
    kill_at 'RUN.*build-gawk'
    say "it goes on where it was"
    machine
    build
}

edit() {
    say "a line in a script in the middle: what comes before it is kept"
    sed -i '$a # edited' scripts/build-openssl.sh
    machine
    build
}

machines() {
    say "one machine builds and writes an image"
    machine
    build --output "oci:$demo/image:first"
    say "another one has the same image"
    machine
    build --output "oci:$demo/image:second"
}

add() {
    say "one package more: look at how much is pushed"
    machine
    build
    sed -i '/build-gawk.sh$/r /dev/stdin' Dockerfile <<'END'

COPY scripts/build-bzip2.sh /tmp/
RUN --mount=type=bind,source=sources/bzip2,target=/sources/bzip2 \
    --mount=type=checkpoint,target=/build ./build-bzip2.sh
END
    machine
    build
}

down() {
    say "a machine builds the last package"
    sed -i '$a # changed' scripts/build-gawk.sh
    machine
    build
    say "the registry goes away, and the last script has changed"
    stop_registry
    sed -i '$a # changed while the registry is away' scripts/build-gawk.sh
    build
    say "it is there again: what it lacks is sent"
    start_registry
    build --require-push
    say "another machine"
    machine
    build
}

budget() {
    local time=${BUDGET:-60s} runs=0 code=5
    say "not enough time: $time at once, each time on another machine"
    cache=budget-$(date +%s)
    while [ $code = 5 ] && [ $runs -lt 12 ]; do
        runs=$((runs + 1)) code=0
        machine
        build --budget "$time" || code=$?
    done
    cache=toolchain
    echo "-- exit code $code after $runs runs"
    return $code
}

[ $# -gt 0 ] || set -- fail kill edit machines add down budget
for part; do
    case $part in
        fail | edit | machines | add | down | budget) $part ;;
        kill) killed ;;
        *)
            echo "demo: there is no part $part" >&2
            exit 2
            ;;
    esac
done
