#!/bin/bash
# What happens to a long build when something goes wrong, on a copy of this example in demo/, with
# stores of its own. Everything takes about fifteen minutes on two processors; each part can be had alone.
# usage: ./demo.sh [fail] [kill] [edit] [machines] [budget]
set -euo pipefail
cd "$(dirname "$0")"
ashlar=${ASHLAR:-ashlar}
command -v "$ashlar" >/dev/null || {
    echo "demo: there is no $ashlar; say ASHLAR=…/target/release/ashlar ./demo.sh" >&2
    exit 1
}
ashlar=$(realpath "$(command -v "$ashlar")")
./prepare

demo=$PWD/demo
project=$demo/project
shared=$demo/shared
mkdir -p "$project"
rm -rf "$project/scripts" "$project/Dockerfile"
cp -r Dockerfile .dockerignore scripts "$project/"
# Sources and the base are not copied, but not linked to either: links out of a context lead nowhere.
for one in base sources; do
    [ -d "$project/$one" ] || cp -al "$one" "$project/"
done
# The place that two machines share.
cat >"$project/ashlar.toml" <<END
[project]
name = "toolchain"

[[remote]]
name = "shared"
url = "dir:$shared"
write = true
END
cd "$project"

say() {
    printf '\n\033[1m== %s\033[0m\n' "$*"
}

build() { # MACHINE ARGUMENTS…
    local machine=$1 code=0 begun=$SECONDS
    shift
    "$ashlar" --store "$demo/$machine" image build "$@" . || code=$?
    echo "-- exit code $code after $((SECONDS - begun)) s"
    return $code
}

# Builds in the background until an instruction is at work, and kills it.
kill_at() { # MACHINE TEXT
    local log=$demo/log
    "$ashlar" --store "$demo/$1" image build . >"$log" 2>&1 &
    local process=$!
    until grep -q "^building.*$2" "$log"; do
        kill -0 $process 2>/dev/null || {
            cat "$log"
            echo "demo: the build ended before $2 was at work" >&2
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
    sed -i 's/^hide_output make install/hide_output make instal/' scripts/build-gawk.sh
    build first && exit 1
    say "the mistake is gone: only what failed is done again"
    sed -i 's/^hide_output make instal\b/hide_output make install/' scripts/build-gawk.sh
    build first
    say "nothing has changed"
    build first
}

killed() {
    say "kill -9 while the last package is at work"
    sed -i '$a # killed in the middle' scripts/build-openssl.sh
    kill_at first build-gawk
    say "it goes on where it was"
    build first
}

edit() {
    say "a line in a script in the middle: what comes before it is kept"
    sed -i '$a # edited' scripts/build-openssl.sh
    build first
}

machines() {
    say "a machine that has built nothing and reads the same folder"
    build first
    rm -rf "$demo/second"
    build second --output "oci:$demo/image"
}

budget() {
    local time=${BUDGET:-150s}
    say "not enough time: $time at once, on a machine that has and reads nothing"
    rm -rf "$demo/third"
    local runs=0 code=5
    while [ $code = 5 ]; do
        runs=$((runs + 1))
        code=0
        ASHLAR_REMOTE_SHARED=off build third --budget "$time" || code=$?
        [ $runs -lt 6 ] || break
    done
    [ $code = 0 ] || {
        echo "demo: not complete after $runs runs; the longest instruction has to fit: BUDGET=300s" >&2
        exit 1
    }
    echo "-- complete after $runs runs"
}

[ $# -gt 0 ] || set -- fail kill edit machines budget
for part; do
    case $part in
        fail | edit | machines | budget) $part ;;
        kill) killed ;;
        *)
            echo "demo: there is no part $part" >&2
            exit 2
            ;;
    esac
done
