"""A build with nothing to do, against make and ninja on the same graph."""

import json
import os
import random
import shutil
import time
from pathlib import Path

from measure import Failed, in_turn, need, resident, run, say, wait_until_old
from report import Row

# Modules depend on earlier ones of their own group only. What a step sees is everything it
# depends on, also through others, each as a layer of its root, and Linux stacks 500 at most; in a
# graph of 30,000 modules whose dependencies come from anywhere, every step would see thousands.
# The number of modules, files and edges, which is what a no-op has to look at, is the same.
GROUP = 10


def busybox_root(folder: Path) -> None:
    """The smallest root that has a shell."""
    busybox = need("busybox", "busybox-static")
    (folder / "bin").mkdir(parents=True)
    shutil.copyfile(busybox, folder / "bin/busybox")
    (folder / "bin/busybox").chmod(0o755)
    for name in ("sh", "cat", "true"):
        (folder / "bin" / name).symlink_to("busybox")


def generate(folder: Path, count: int) -> None:
    """The same graph for the three: each module makes one file of its one source, and depends on
    up to three others."""
    choose = random.Random(1)
    for name in ("src", "modules", "out"):
        (folder / name).mkdir(parents=True)
    busybox_root(folder / "rootfs")
    make = ["all:" + "".join(f" out/m{n}" for n in range(count)), ""]
    ninja = ["rule copy\n  command = cat $in > $out\n"]
    for n in range(count):
        first = n - n % GROUP
        depends = sorted({choose.randrange(first, n) for _ in range(3)}) if n > first else []
        (folder / f"src/m{n}").write_text(f"module {n}\n")
        files = " ".join(f"out/m{d}" for d in depends)
        make.append(f"out/m{n}: src/m{n} {files}\n\tcat src/m{n} > $@")
        ninja.append(f"build out/m{n}: copy src/m{n}" + (f" | {files}" if files else ""))
        names = ", ".join(f'"m{d}"' for d in depends)
        (folder / f"modules/m{n}.toml").write_text(
            'base = "tiny"\n'
            f"depends = [{names}]\n"
            f'[source]\npath = "src/m{n}"\n'
            '[build]\nkind = "script"\n'
            f"steps = ['read -r line < m{n}; echo \"$line\" > \"$DESTDIR/m{n}\"']\n")
    everything = ", ".join(f'"m{n}"' for n in range(count))
    (folder / "modules/all.toml").write_text(
        f'depends = [{everything}]\n[build]\nkind = "group"\n')
    (folder / "ashlar.toml").write_text(
        '[project]\nname = "noop"\ndefault = ["all"]\n[base.tiny]\npath = "rootfs"\n')
    (folder / "Makefile").write_text("\n".join(make) + "\n")
    (folder / "build.ninja").write_text("\n".join(ninja) + "\n")


def summary(command: list, cwd: Path) -> dict:
    return json.loads(run([*command, "--json"], cwd).splitlines()[-1])


def measure(context, count: int, at_most: float | None, ratio: float | None,
            memory: float | None) -> list[Row]:
    folder = context.scratch / f"noop-{count}"
    say(f"{count} modules: making them")
    generate(folder, count)
    ours = [context.ashlar, "--store", context.scratch / f"noop-{count}.store", "build"]
    make, ninja = [need("make", "make"), "-j2", "-s"], [need("ninja", "ninja-build"), "--quiet"]
    say(f"{count} modules: building each once")
    begun = time.perf_counter()
    built = summary(ours, folder)
    took = time.perf_counter() - begun
    if built["built"] + built["cutoff"] != count:
        raise Failed(f"of {count} modules were built: {built}")
    context.notes.append(f"the first build of {count} modules, each in a sandbox of its own, "
                         f"took {took:.0f} s: {took / count * 1000:.1f} ms a module")
    for other in (make, ninja):
        run(other, folder)
    say(f"{count} modules: measuring builds with nothing to do")
    wait_until_old()
    found = summary(ours, folder)
    if found["hit"] != count:
        raise Failed(f"of {count} modules not all were found: {found}")
    runs = context.runs if count <= 5_000 else min(context.runs, 5)  # make takes its time
    times = in_turn({"ours": ours, "make": make, "ninja": ninja}, runs, folder)
    say(f"{count} modules: changing one of them, to see that it is noticed")
    changed = folder / f"src/m{count - 1}"
    before = changed.stat()
    changed.write_bytes(changed.read_bytes().upper())
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    if summary(ours, folder)["built"] != 1:
        raise Failed("a build with something to do was taken for one without")
    name = f"no-op build of {count:,} modules"
    return [
        Row(name, times["ours"], "make -j2", times["make"], at_most, ratio),
        Row(name, times["ours"], "ninja", times["ninja"]),
        Row(f"resident memory of the no-op build of {count:,}", resident(ours, folder), "make",
            resident(make, folder), at_most=memory, unit="MB"),
    ]
