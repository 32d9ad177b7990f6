"""What a sandbox adds to a command: `true` in a step."""

import os
import time

from measure import Failed, Times, say, seconds
from noop import busybox_root, summary
from report import Row

FOLDERS = ("build/src", "build/dest", "build/home", "build/bin", "dev", "proc", "run", "sys", "tmp")


def skeleton(folder) -> None:
    """The mount points that every root needs, for the sandbox by hand."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)


def measure(context, count: int) -> list[Row]:
    folder = context.scratch / "overhead"
    say(f"the sandbox: `true` in {count} steps")
    busybox_root(folder / "rootfs")
    (folder / "modules").mkdir()
    names = [f"t{n}" for n in range(count)]
    for name in names:
        (folder / f"modules/{name}.toml").write_text(
            f'base = "tiny"\nenv = {{ NAME = "{name}" }}\n'
            '[build]\nkind = "script"\nsteps = ["true"]\n')
    quoted = ", ".join(f'"{name}"' for name in names)
    (folder / "ashlar.toml").write_text(
        f'[project]\nname = "overhead"\ndefault = [{quoted}]\n[base.tiny]\npath = "rootfs"\n')
    skeleton(folder / "skeleton")
    by_hand = folder / "by-hand"
    by_hand.write_text(
        "#!/bin/bash\nset -eu\nmkdir outputs work\n"
        f"for ((n = 0; n < {count}; n++)); do\n"
        f'  env -i PATH="$PATH" NAME=t$n "{context.bench}/plain-step" work/$n outputs/$n - '
        "rootfs:skeleton /bin/sh -eu -c true\ndone\n")
    by_hand.chmod(0o755)
    ours, theirs = [], []
    for turn in range(context.rounds):
        store = context.scratch / f"overhead-{turn}.store"
        command = [context.ashlar, "--store", store, "--jobs", "1", "build"]
        begun = time.perf_counter()
        built = summary(command, folder)
        took = time.perf_counter() - begun
        if built["built"] != count:
            raise Failed(f"of {count} steps not all were run: {built}")
        # What reading the project and looking up keys take is measured elsewhere.
        took -= Times(tuple(seconds(command, folder) for _ in range(3))).median
        ours.append(took / count)
        if os.geteuid() == 0:
            theirs.append(seconds([by_hand], folder) / count)
            context.forget(folder / "outputs", folder / "work")
        context.forget(store)
    peer = Times(tuple(theirs)) if theirs else None
    return [Row("run `true` in a step, from staging to the kept result", Times(tuple(ours)),
                "the same sandbox by a shell script", peer)]
