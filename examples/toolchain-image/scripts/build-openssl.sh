#!/bin/bash
source /tmp/shared.sh
unpack openssl
hide_output ./config --prefix=$prefix --libdir=lib zlib --with-zlib-include=$prefix/include \
    --with-zlib-lib=$prefix/lib no-tests
hide_output make -j"$jobs"
hide_output make install_sw install_ssldirs
clean openssl
