//! The `make` that is first in `PATH` inside: it keeps `-j` on a command line from leaving the
//! jobserver that all steps share.

/// Where the shim lies inside.
pub(crate) const FOLDER: &str = "/build/bin";
/// The names under which it stands.
pub(crate) const NAMES: [&str; 2] = ["make", "gmake"];

/// A script for any POSIX shell.
///
/// `MAKE` and `MAKE_COMMAND` are handed to the real make as environment, which it prefers to the
/// path it was started by: so `$(MAKE) -j8` in a makefile comes here again.
pub(crate) const SCRIPT: &str = r#"#!/bin/sh
# Runs the real make without -j: all steps of a build share one jobserver, and a make that is
# given a number of its own leaves it.
name=${0##*/}
real=
set -f
rest=$PATH:
while [ -n "$rest" ]; do
    folder=${rest%%:*}
    rest=${rest#*:}
    [ "$folder" = /build/bin ] && continue
    if [ -x "${folder:-.}/$name" ] && [ ! -d "${folder:-.}/$name" ]; then
        real=${folder:-.}/$name
        break
    fi
done
if [ -z "$real" ]; then
    echo "$name: not found in $PATH" >&2
    exit 127
fi
case " $MAKEFLAGS" in
*" --jobserver-auth="*) ;;
*) exec "$real" "$@" ;;
esac
MAKE=$name
MAKE_COMMAND=$name
export MAKE MAKE_COMMAND

# Each argument is taken from the front and, unless it is dropped, put at the end.
left=$#
value=   # the next argument belongs to the option before it
number=  # the next argument is dropped if it is a number
while [ "$left" -gt 0 ]; do
    arg=$1
    shift
    left=$((left - 1))
    if [ -n "$value" ]; then
        value=
        set -- "$@" "$arg"
        continue
    fi
    if [ -n "$number" ]; then
        number=
        case $arg in
        *[!0-9]* | '') ;;
        *) continue ;;
        esac
    fi
    case $arg in
    --)
        set -- "$@" "$arg"
        while [ "$left" -gt 0 ]; do
            arg=$1
            shift
            left=$((left - 1))
            set -- "$@" "$arg"
        done
        continue
        ;;
    --jobs=*) continue ;;
    --jobs)
        number=1
        continue
        ;;
    --directory | --file | --makefile | --include-dir | --old-file | --assume-old | \
        --what-if | --new-file | --assume-new | --eval) value=1 ;;
    --*) ;;
    -?*)
        # Letters in a row; everything after C, f, I, o, W or E is that option's value.
        letters=${arg#-}
        kept=
        while [ -n "$letters" ]; do
            letter=${letters%"${letters#?}"}
            letters=${letters#?}
            case $letter in
            j)
                while :; do
                    case $letters in
                    [0-9]*) letters=${letters#?}; seen=1 ;;
                    *) break ;;
                    esac
                done
                [ -z "$letters" ] && [ -z "$seen" ] && number=1
                seen=
                ;;
            [CfIoWE])
                kept=$kept$letter$letters
                [ -z "$letters" ] && value=1
                letters=
                ;;
            *) kept=$kept$letter ;;
            esac
        done
        [ -z "$kept" ] && continue
        arg=-$kept
        ;;
    esac
    set -- "$@" "$arg"
done
exec "$real" "$@"
"#;

#[cfg(test)]
#[path = "shim_tests.rs"]
mod tests;
