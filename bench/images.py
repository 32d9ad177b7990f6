"""`ashlar image build` beside buildah: hits, failures, the cost of an instruction, uploads."""

import json
import re
import subprocess
from pathlib import Path

import noop
import remote
import stock
from measure import Best, Failed, Times, need, run, say, seconds, set_aside, settle
from report import Row
from servers import Registry

# How many instructions the cost of one is taken from.
MANY = 21
HEAD = "FROM scratch\nCOPY rootfs /\n"


class Buildah:
    """buildah with storage of its own, as it runs as root on a machine with hybrid cgroups."""

    def __init__(self, base: Path):
        need("buildah", "buildah")
        need("runc", "runc")
        self.base = base

    def command(self, storage: str, *words) -> list:
        root = self.base / storage
        return ["buildah", "--root", root / "root", "--runroot", root / "run",
                "--storage-driver", "overlay", *words]

    def build(self, storage: str, context: Path, name: str) -> list:
        return self.command(storage, "bud", "--isolation", "oci", "--runtime", "runc", "--network",
                            "none", "--layers", "--format", "oci", "-q", "-t", name, context)

    def remove(self) -> None:
        """Its mounts go with its containers."""
        for root in self.base.iterdir():
            subprocess.run(self.command(root.name, "rm", "--all"), check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def seconds_whatever(command: list, cwd: Path, code: int) -> float:
    """As `seconds`, for a command that ends with this code."""
    script = f'"$@"; [ $? = {code} ]'
    return seconds(["sh", "-c", script, "-", *command], cwd)


class Ours:
    """A context with the commands over it."""

    def __init__(self, context, folder: Path):
        self.ashlar, self.folder = context.ashlar, folder
        noop.busybox_root(folder / "rootfs")
        (folder / "rootfs/tmp").mkdir()

    def write(self, lines: str) -> None:
        (self.folder / "Dockerfile").write_text(HEAD + lines)

    def build(self, store: Path, *words) -> list:
        return [self.ashlar, "--store", store, "image", "build", *words, self.folder]


def measure(context, tree: Path, full_size: bool) -> list[Row]:
    base = context.scratch / "images"
    base.mkdir()
    ours = Ours(context, base / "context")
    buildah = Buildah(base / "buildah")
    (base / "buildah").mkdir()
    try:
        rows = small(context, base, ours, buildah, full_size)
        return rows + large(context, base, tree, buildah, full_size)
    finally:
        buildah.remove()


def small(context, base: Path, ours: Ours, buildah: Buildah, bars: bool) -> list[Row]:
    say("three instructions of three seconds, of which the last fails")
    ours.write(slow(fails=True))
    theirs = buildah.build("slow", ours.folder, "slow")
    # What was written to make the tree is on the disk before anything is timed.
    settle()
    failed = (seconds_whatever(ours.build(base / "slow"), base, 1),
              seconds_whatever(theirs, base, 1))
    ours.write(slow(fails=False))
    settle()
    again = (seconds(ours.build(base / "slow"), base), seconds(theirs, base))
    say("the same again")
    hits: tuple[list[float], list[float]] = ([], [])
    for _ in range(context.runs):
        hits[0].append(seconds(ours.build(base / "slow"), base))
        hits[1].append(seconds(theirs, base))
    say(f"{MANY} instructions that do nothing")
    each: tuple[list[float], list[float]] = ([], [])
    for turn in range(context.rounds):
        took = []
        for count in (1, MANY):
            ours.write("".join(f"RUN busybox true {n}\n" for n in range(count)))
            settle()
            took.append((seconds(ours.build(base / f"true-{turn}-{count}"), base),
                         seconds(buildah.build(f"true-{turn}-{count}", ours.folder, "t"), base)))
        for side in (0, 1):
            each[side].append((took[1][side] - took[0][side]) / (MANY - 1))
    peer = "buildah bud --layers"
    return [
        Row("image: three instructions of 3 s, the last fails", failed[0], peer, failed[1],
            at_most=9.5 if bars else None),
        Row("image: then with the failure mended", again[0], peer, again[1],
            at_most=3.3 if bars else None),
        Row("image: nothing to do", Times(tuple(hits[0])), peer, Times(tuple(hits[1])),
            at_most=0.1 if bars else None),
        Row("image: one `RUN true`", Times(tuple(each[0])), peer, Times(tuple(each[1])),
            at_most=0.06 if bars else None),
    ]


def slow(fails: bool) -> str:
    lines = [f"RUN busybox sleep 3 && echo {n} > /{n}" for n in (1, 2, 3)]
    return "\n".join(lines) + (" && false\n" if fails else "\n")


def large(context, base: Path, tree: Path, buildah: Buildah, bars: bool) -> list[Row]:
    """A whole root as one layer, and the same with a package more."""
    size = stock.content(tree)
    following = base / "next"
    run(["cp", "-a", "--no-preserve=timestamps", tree, following])
    added = remote.add_package(following, following / "var/lib/dpkg/status")
    folders = []
    for name, root in (("one", tree), ("two", following)):
        folder = base / name
        folder.mkdir()
        remote.archive(root, folder / "root.tar")
        (folder / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
        folders.append(folder)
    set_aside(following)
    store = base / "large"
    took: dict[str, list[float]] = {}
    moved: list[int] = []
    shown = f"{size / 1e6:.0f} MB"
    for turn in range(context.rounds):
        say(f"an image of {shown}: round {turn + 1} of {context.rounds}")
        with Registry(base / f"registry-{turn}") as registry:
            if turn == 0:
                moved = [left(context, store, folder, registry) for folder in folders]
                gzip = gzipped(folders[1])
            for name, one in pushed(context, base, registry, folders[0], buildah, turn).items():
                took.setdefault(name, []).append(one)
    best = {name: Best(tuple(all_times)) for name, all_times in took.items()}
    context.notes.append(
        f"the image: a root of {shown} as one layer; the next one has {added / 1e6:.1f} MB of "
        f"packages more and every time new; sent to the cache {moved[0] / 1e6:.1f} MB, then "
        f"{moved[1] / 1e6:.1f} MB; as a layer with gzip {gzip / 1e6:.1f} MB")
    peer = "buildah push"
    return [
        Row("image: bytes sent for a package more", moved[1] / 1e6, "the layer with gzip",
            gzip / 1e6, unit="MB"),
        Row("image: the same, of the root", moved[1] / 1e6, "the root", size / 1e6,
            at_most_ratio=0.02 if bars else None, unit="MB"),
        Row(f"image: write and push {shown}", best["first"], peer, best["buildah first"],
            at_most_ratio=1.0 if bars else None),
        Row("image: push it unchanged", best["again"], peer, best["buildah again"],
            at_most=0.1 if bars else None),
    ]


def gzipped(folder: Path) -> int:
    """Bytes of the layer as it is pushed without Ashlar."""
    with subprocess.Popen(["gzip", "-c", folder / "root.tar"], stdout=subprocess.PIPE) as packed:
        return sum(len(piece) for piece in iter(lambda: packed.stdout.read(1 << 20), b""))


def left(context, store: Path, folder: Path, registry: Registry) -> int:
    """Builds with a cache at the registry; the bytes that are sent there."""
    said = run([context.ashlar, "--store", store, "--json", "--remote",
                f"team=oci://{registry.host}/cache", "image", "build", "--require-push",
                "-t", "large", folder])
    tallies = [event for event in map(json.loads, said.splitlines()) if event["event"] == "remote"]
    if not tallies or not tallies[-1]["pushed"]:
        raise Failed(f"nothing was pushed: {tallies}")
    return tallies[-1]["pushed_bytes"]


def pushed(context, base: Path, registry: Registry, folder: Path, buildah: Buildah,
           turn: int) -> dict[str, float]:
    """What is built already, written as an image and pushed; then once more."""
    store = base / f"push-{turn}"
    build = [context.ashlar, "--store", store, "image", "build", "-t", "large"]
    run([*build, folder])
    push = [*build, "--push", f"{registry.host}/ours:1", folder]
    storage = f"push-{turn}"
    run(buildah.build(storage, folder, "large"))
    theirs = buildah.command(storage, "push", "-q", "--tls-verify=false", "large",
                             f"docker://{registry.host}/theirs:1")
    took = {}
    settle()
    took["first"] = seconds(push, base)
    settle()
    took["buildah first"] = seconds(theirs, base)
    settle()
    took["again"] = seconds(push, base)
    took["buildah again"] = seconds(theirs, base)
    tags = run(["skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/ours:1"])
    if not re.search(r'"Layers"', tags):
        raise Failed("the pushed image has no layers")
    return took
