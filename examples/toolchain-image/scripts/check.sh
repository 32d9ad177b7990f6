#!/bin/sh
# Every program of the toolchain runs and is the one that was built.
set -eu
for program in ld openssl gawk; do
    [ "$(command -v $program)" = "/toolchain/bin/$program" ]
done
openssl version
ld --version | head -n 1
gawk 'BEGIN { print "gawk", PROCINFO["version"] }'
openssl list -disabled | grep -qi zlib && exit 1
echo toolchain | openssl dgst -sha256
