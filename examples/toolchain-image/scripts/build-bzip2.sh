#!/bin/bash
source /tmp/shared.sh
once copied copy_source bzip2
cd bzip2
hide_output make -j"$jobs" libbz2.a bzip2 bzip2recover
hide_output make install PREFIX=$prefix
