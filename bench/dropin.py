"""`ashlar run` around commands of makefiles: a hit beside ccache's, a makefile of nothing but hits,
and what tracing costs."""

import json
import os
import subprocess
from pathlib import Path

from measure import Failed, Times, need, run, say, seconds, set_aside, settle, wait_until_old
from report import Row

HIT = 0.008
HITS = 6.0
# Lengths of headers: from a handful of declarations to a large one.
FUNCTIONS = (4, 8, 12, 20, 40)


def environment(**more: str | Path) -> dict[str, str]:
    """Ours, without what people have set for either program."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("ASHLAR_", "CCACHE_", "MAKE"))}
    return {**kept, **{name: str(value) for name, value in more.items()}}


def sources(folder: Path, headers: int) -> None:
    """A C file that includes so many headers, and uses each."""
    (folder / "include").mkdir(parents=True)
    for n in range(headers):
        functions = "".join(
            f"/* What part {f} of {n} makes of a value. */\n"
            f"static inline unsigned long h{n}_{f}(unsigned long value)\n"
            f"{{\n\treturn (value << {f % 7 + 1}) ^ (value >> {n % 11 + 1}) ^ {n * 997 + f};\n}}\n"
            for f in range(FUNCTIONS[n % len(FUNCTIONS)]))
        (folder / f"include/h{n}.h").write_text(
            f"#ifndef H{n}_H\n#define H{n}_H\n"
            f"struct h{n} {{ unsigned long a, b; char name[{n + 1}]; }};\n{functions}#endif\n")
    lines = [f'#include "h{n}.h"' for n in range(headers)]
    lines += [f"unsigned long use{n}(struct h{n} *of)\n{{\n\treturn h{n}_0(of->a) + "
              f"h{n}_1(of->b) + h{n}_2(of->a);\n}}" for n in range(headers)]
    (folder / "main.c").write_text("\n".join(lines) + "\n")


def measure_hit(context, headers: int, bars: bool) -> list[Row]:
    """One hit of each, in turn. What is restored is not there before, for both."""
    folder = context.scratch / "hit"
    say(f"a C file with {headers} headers: compiling it")
    sources(folder, headers)
    (folder / "ashlar-run.toml").write_text("")
    compile_it = ["gcc", "-O2", "-g", "-Iinclude", "-c", "main.c", "-o"]
    outputs = {"ours": folder / "ours.o", "ccache": folder / "ccache.o"}
    commands = {
        "ours": [context.ashlar, "--store", context.scratch / "hit.store", "run", "--quiet",
                 "--input", "main.c", "--input", "include", "--tool", "gcc", "--output", "ours.o",
                 "--", *compile_it, "ours.o"],
        "ccache": [need("ccache", "ccache"), *compile_it, "ccache.o"],
    }
    env = environment(CCACHE_DIR=context.scratch / "ccache", CCACHE_DIRECT="1",
                      CCACHE_CONFIGPATH=context.scratch / "ccache.conf")
    need("gcc", "gcc")
    for command in commands.values():
        run(command, folder, env)
    content = outputs["ours"].read_bytes()
    if content != outputs["ccache"].read_bytes():
        raise Failed("the two did not compile the same")
    # Both know a younger file's content only by reading it.
    wait_until_old()
    before = direct_hits(env)
    took: dict[str, list[float]] = {name: [] for name in commands}
    rounds = 5 * context.runs
    say(f"a C file with {headers} headers: {rounds} hits of each")
    for turn in range(rounds + 2):
        for name, command in commands.items():
            outputs[name].unlink()
            one = seconds(command, folder, env)
            if outputs[name].read_bytes() != content:
                raise Failed(f"{name} restored something else")
            if turn >= 2:
                took[name].append(one)
    stat = [*commands["ours"][:3], "--json", "stat", "--run", "ours.o"]
    hits = json.loads(run(stat, folder, env).splitlines()[0])["hits"]
    if hits != rounds + 2 or direct_hits(env) - before != rounds + 2:
        raise Failed(f"not all of them were hits: {hits} and {direct_hits(env) - before}")
    size = sum(path.stat().st_size for path in (folder / "include").iterdir())
    context.notes.append(f"the C file and its headers: {size / 1e3:,.0f} kB, its object "
                         f"{len(content) / 1e3:,.0f} kB")
    return [Row(f"`ashlar run` hit, a C file with {headers} headers", Times(tuple(took["ours"])),
                "ccache", Times(tuple(took["ccache"])), at_most=HIT if bars else None,
                at_most_ratio=2.0 if bars else None)]


def direct_hits(env: dict[str, str]) -> int:
    """How often ccache has found something by the files alone."""
    for line in run(["ccache", "--print-stats"], env=env).splitlines():
        if line.startswith("direct_cache_hit"):
            return int(line.split()[1])
    raise Failed("ccache does not say how many hits it had")


def measure_many(context, count: int, bars: bool) -> list[Row]:
    """A makefile of which every target is a hit."""
    folder = context.scratch / "hits"
    say(f"a makefile of {count} targets: making them once")
    (folder / "src").mkdir(parents=True)
    (folder / "rules").mkdir()
    (folder / "rules/functions").write_text("# what all of them share\n" * 100)
    (folder / "ashlar-run.toml").write_text("")
    for n in range(count):
        (folder / f"src/m{n}").write_text(f"module {n}\n" * (n % 50 + 1))
    (folder / "Makefile").write_text(
        f"names := {' '.join(f'm{n}' for n in range(count))}\n"
        "all: $(names:%=target/%)\n"
        "target/%: src/% rules/functions | target\n"
        "\t@$(call run,$@,$<) sh -c 'cat $< rules/functions > $@ && echo $* >> made'\n"
        "target:\n\t@mkdir target\n")
    ours = [f"run={context.ashlar} --store {context.scratch}/hits.store run --quiet --input $2 "
            "--common rules/functions --output $1 --"]
    make = [need("make", "make"), "-j2", "--silent"]
    env = environment()
    target, made = folder / "target", folder / "made"
    took: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(context.rounds + 1):
        if turn == 1:
            wait_until_old()
            say(f"a makefile of {count} targets: all of them hits")
        for name, how in (("ours", ours), ("plain", ["run="])):
            set_aside(target)
            settle()
            one = seconds([*make, *how], folder, env)
            if turn > 0:
                took[name].append(one)
            if len(list(target.iterdir())) != count:
                raise Failed("not all targets are there")
            lines = len(made.read_text().splitlines()) if made.exists() else 0
            if lines != (count if name == "plain" or turn == 0 else 0):
                raise Failed(f"{lines} commands were run by {name} in round {turn}")
            set_aside(made)
    return [Row(f"makefile of {count:,} `ashlar run` hits, `make -j2`", Times(tuple(took["ours"])),
                "`cat` instead of each", Times(tuple(took["plain"])),
                at_most=HITS if bars else None)]


def zlib(context, into: Path) -> Path:
    """zlib's sources, those of examples/ci-layers."""
    example = context.root / "examples/ci-layers"
    digest, archive = (example / "modules/zlib.sha256").read_text().split()
    fetch = context.scratch / "fetch"
    fetch.mkdir()
    run([example / "ci/fetch", "zlib", archive, fetch / archive], fetch)
    (fetch / "sums").write_text(f"{digest}  {archive}\n")
    run(["sha256sum", "--check", "--strict", "--quiet", "sums"], fetch)
    into.mkdir(parents=True)
    run(["tar", "-C", into, "--strip-components=1", "-xf", fetch / archive])
    return into


def measure_trace(context, bars: bool) -> list[Row]:
    """zlib's configure and make, seen and not seen."""
    folder = context.scratch / "trace"
    say("zlib: fetching it")
    zlib(context, folder / "src")
    (folder / "ashlar-run.toml").write_text("")
    # A header is left out, to see that it is noticed.
    left_out = "src/zutil.h"
    # Nothing is made among the inputs, and each round begins without what the last one made.
    script = "mkdir build && cd build && ../src/configure >configure.out && make >make.out"

    def command(*how: str) -> list:
        return [context.ashlar, "--store", context.scratch / "trace.store", "run", "--quiet",
                "--input", "src", "--input", f"!{left_out}", "--output", "build/libz.a", *how,
                "--", "sh", "-ec", script]

    commands = {"traced": command("--trace=warn"), "untraced": command()}
    env = environment(ASHLAR_CACHE="write")
    took: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(context.rounds + 1):
        say(f"zlib: round {turn} of {context.rounds}" if turn else "zlib: once, for what is said")
        for name, one in commands.items():
            set_aside(folder / "build")
            settle()
            if turn > 0:
                took[name].append(seconds(one, folder, env))
                continue
            done = subprocess.run([str(word) for word in one], cwd=folder, env=env, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                raise Failed(f"zlib, {name}: ended with {done.returncode}: {done.stdout[-1500:]}")
            if (left_out in done.stdout) != (name == "traced"):
                raise Failed(f"zlib, {name}: {left_out} was read and not declared, of which is "
                             f"said: {done.stdout[-1500:]}")
    return [Row("configure and make zlib, traced", Times(tuple(took["traced"])), "not traced",
                Times(tuple(took["untraced"])), at_most_ratio=1.5 if bars else None)]
