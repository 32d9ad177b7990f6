#!/bin/bash
source /tmp/shared.sh
unpack gawk
# Patched files are newer than what was made from them, and what would make it again is not here.
find . -name aclocal.m4 -exec touch {} +
sleep 1
find . \( -name configure -o -name Makefile.in -o -name configh.in \) -exec touch {} +
hide_output ./configure --prefix=$prefix --disable-nls --disable-mpfr --without-readline
# Debian's source has no manual, which the other folders are about.
sed -i 's/^SUBDIRS = .*/SUBDIRS = support . extension/' Makefile
hide_output make -j"$jobs"
hide_output make install
clean gawk
