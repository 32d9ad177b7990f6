#!/bin/bash
source /tmp/shared.sh

# Patched files are newer than what was made from them, and what would make it again is not here.
touch_made() {
    find . -name aclocal.m4 -exec touch {} +
    sleep 1
    find . \( -name configure -o -name Makefile.in -o -name configh.in \) -exec touch {} +
}

configure() {
    hide_output ./configure --prefix=$prefix --disable-nls --disable-mpfr --without-readline
    # Debian's source has no manual, which the other folders are about.
    sed -i 's/^SUBDIRS = .*/SUBDIRS = support . extension/' Makefile
}

once copied copy_source gawk
cd gawk
once touched touch_made
once configured configure
hide_output make -j"$jobs"
hide_output make install
