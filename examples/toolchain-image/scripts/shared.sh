# What the scripts share. Each is run with its source in /sources/NAME, which is gone afterwards.
set -eu
prefix=/toolchain
jobs=${JOBS:-2}

# A copy of the source to build in.
unpack() { # NAME
    cp -a "/sources/$1" "/tmp/$1"
    cd "/tmp/$1"
}

# Only what was installed is kept.
clean() { # NAME
    cd /
    rm -rf "/tmp/$1"
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
