#!/bin/bash
source /tmp/shared.sh
once configured hide_output /sources/openssl/config --prefix=$prefix --libdir=lib zlib \
    --with-zlib-include=$prefix/include --with-zlib-lib=$prefix/lib no-shared no-tests
hide_output make -j"$jobs" build_sw
hide_output make install_sw install_ssldirs
