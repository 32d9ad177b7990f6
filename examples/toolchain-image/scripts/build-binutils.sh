#!/bin/bash
source /tmp/shared.sh
once configured hide_output /sources/binutils/configure --prefix=$prefix --disable-nls --disable-gdb \
    --disable-gdbserver --disable-sim --disable-gprofng --disable-gprof --disable-gold \
    --disable-werror --with-system-zlib \
    --enable-targets=aarch64-linux-gnu,powerpc64le-linux-gnu,riscv64-linux-gnu,s390x-linux-gnu
hide_output make -j"$jobs" MAKEINFO=true
hide_output make install-strip MAKEINFO=true
