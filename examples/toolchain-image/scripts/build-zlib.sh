#!/bin/bash
source /tmp/shared.sh
unpack zlib
hide_output sh ./configure --prefix=$prefix
hide_output make -j"$jobs"
hide_output make install
clean zlib
