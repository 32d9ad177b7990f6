#!/bin/bash
source /tmp/shared.sh
once copied copy_source zlib
cd zlib
once configured hide_output sh ./configure --prefix=$prefix
hide_output make -j"$jobs"
hide_output make install
