# What the scripts share. Each is run with its source in /sources/NAME, and builds in /build. Both
# are gone afterwards, but when a script was stopped, it goes on in what it had made.
set -eu
prefix=/toolchain
jobs=${JOBS:-2}
cd /build

# Does something once, also when it takes several runs of the script.
once() { # NAME COMMAND…
    [ ! -e "$1.done" ] || return 0
    "${@:2}"
    touch "$1.done"
}

# For what builds only where its source is. It is taken anew when it was not complete.
copy_source() { # NAME
    rm -rf "$1"
    cp -a "/sources/$1" .
}

# Says nothing unless it fails: logs of builds are long.
hide_output() {
    if ! "$@" >/tmp/build.log 2>&1; then
        tail -n 50 /tmp/build.log
        echo "failed: $*" >&2
        exit 1
    fi
    rm /tmp/build.log
}
