"""Results shared through a registry, beside archives that are moved whole; and through a build
cache, beside BuildStream."""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import noop
import stock
from measure import Best, Failed, Times, in_turn, run, say, seconds, set_aside, settle
from report import Row
from servers import Casd, Registry, buildstream

MIB = 2**20
# What a revision adds, as far as it is installed here: real files of real packages.
PACKAGES = ("curl", "libcurl4", "libnghttp2-14", "librtmp1", "libssh2-1", "libpsl5", "libssl3",
            "libldap-2.5-0", "libbrotli1", "ca-certificates", "openssl")
ADDED = 4_000_000


class Project:
    """A project whose one module has a whole root as its output, in one of two revisions."""

    def __init__(self, context, name: str, archive: Path, store: Path):
        self.folder, self.store, self.ashlar = context.scratch / name, store, context.ashlar
        (self.folder / "modules").mkdir(parents=True)
        noop.busybox_root(self.folder / "rootfs")
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        (self.folder / "ashlar.toml").write_text(
            '[project]\nname = "shared"\ndefault = ["root"]\n[base.tiny]\npath = "rootfs"\n')
        (self.folder / "modules/root.toml").write_text(
            f'base = "tiny"\n[source]\nurl = "file://{archive}"\nsha256 = "{digest}"\n'
            'unpack = false\n[build]\nkind = "script"\n'
            f"steps = ['busybox tar -C \"$DESTDIR\" -xpf \"$SRCDIR/{archive.name}\"']\n")
        # Something that needs the root to be staged, and nothing else.
        (self.folder / "modules/after.toml").write_text(
            'base = "tiny"\ndepends = ["root"]\n[build]\nkind = "script"\n'
            "steps = [': > \"$DESTDIR/done\"']\n")
        (self.folder / "rootfs/bin/busybox").chmod(0o755)

    def command(self, *arguments, remote: str | None = None, store: Path | None = None) -> list:
        """Ours, with the registry that is to be used: read only, but by `push`."""
        remotes = [] if remote is None else ["--remote", f"team={remote}"]
        if remote is not None and "push" not in arguments:
            remotes += ["--remote", "team=read"]
        return [self.ashlar, "--store", store or self.store, "-C", self.folder, *remotes,
                *arguments]


def add_package(root: Path, status: Path) -> int:
    """Lays files of installed packages over a root, until they are as many bytes as a revision is
    to add; how many they are."""
    added = 0
    for package in PACKAGES:
        listed = run(["dpkg-query", "-L", package]) if is_installed(package) else ""
        for name in listed.splitlines():
            source, into = Path(name), root / name.lstrip("/")
            if not source.is_file() or source.is_symlink() or into.exists():
                continue
            if added + source.stat().st_size > 1.2 * ADDED:
                continue
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, into)
            added += source.stat().st_size
        if added >= ADDED:
            break
    left = ADDED - added
    if left > 0:  # a machine with few packages
        (root / "usr/share/more").write_bytes(random.Random(2).randbytes(left))
        added = ADDED
    status.parent.mkdir(parents=True, exist_ok=True)
    with status.open("a") as file:
        file.write("\nPackage: curl\nStatus: install ok installed\n")
    return added


def is_installed(package: str) -> bool:
    try:
        return run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package]) == "installed"
    except Failed:
        return False


def archive(folder: Path, into: Path) -> Path:
    run(["tar", "-C", folder, "--numeric-owner", "--owner=0", "--group=0", "-cf", into, "."])
    return into


def measure_root(context, tree: Path, full_size: bool) -> list[Row]:
    """A build root to and from a registry."""
    base = context.scratch / "remote"
    base.mkdir()
    say("the build root and its next revision")
    following = base / "next"
    run(["cp", "-a", "--no-preserve=timestamps", tree, following])
    added = add_package(following, following / "var/lib/dpkg/status")
    store = base / "store"
    first = Project(context, "remote/one", archive(tree, base / "one.tar"), store)
    second = Project(context, "remote/two", archive(following, base / "two.tar"), store)
    for project in (first, second):
        run(project.command("build", "root"))
    set_aside(following)
    size = stock.content(tree)
    bars = full_size
    took: dict[str, list[float]] = {}
    moved: dict[str, float] = {}
    for turn in range(context.rounds):
        say(f"a registry on loopback: round {turn + 1} of {context.rounds}")
        with Registry(base / f"registry-{turn}") as registry:
            again = one_round(context, base, registry, (first, second), tree, moved)
            for name, one in again.items():
                took.setdefault(name, []).extend(one if isinstance(one, list) else [one])
    context.notes.append(
        f"the build root at the registry: {size / 1e6:.0f} MB of content in "
        f"{moved['first'] / 1e6:.1f} MB, as one tar with `zstd -3` {moved['zstd'] / 1e6:.1f} MB, "
        f"with `gzip -n` {moved['gzip'] / 1e6:.1f} MB; its next revision adds {added / 1e6:.1f} MB "
        f"of packages, with every time stamp new")
    best = {name: Best(tuple(all)) for name, all in took.items()}
    shown = f"{size / 1e6:.0f} MB"
    pushed, pulled = f"push a build root of {shown}", f"pull {shown} into an empty store and stage"
    return [
        Row(pushed, best["push"], "tar, gzip -n, one upload", best["push gzip"],
            at_most_ratio=0.333 if bars else None),
        Row(pushed, best["push"], "tar, zstd -3 -T0, one upload", best["push zstd"],
            at_most_ratio=1.0 if bars else None),
        Row("push its next revision", best["push next"], at_most=0.5 if bars else None),
        Row("bytes of the next revision", moved["next"] / 1e6, "the first push",
            moved["first"] / 1e6, at_most_ratio=0.02 if bars else None, unit="MB"),
        Row("push what is there unchanged", Times(tuple(took["push again"])),
            at_most=0.05 if bars else None),
        Row(pulled, best["pull"], "skopeo copy of it, tar", best["pull skopeo"],
            at_most=size / (150 * MIB) if bars else None, at_most_ratio=0.5 if bars else None),
        Row(pulled, best["pull"], "skopeo copy of tar with gzip, tar", best["pull gzip"]),
        Row("pull when nothing is missing", Times(tuple(took["pull again"])),
            at_most=0.05 if bars else None),
    ]


def one_round(context, base: Path, registry: Registry, projects: tuple[Project, Project],
              tree: Path, moved: dict[str, float]) -> dict[str, float | list[float]]:
    """Everything once, with an empty registry."""
    first, second = projects
    repository = f"{registry.host}/root"
    remote = f"oci://{repository}"
    took: dict[str, float | list[float]] = {}
    settle()
    took["push"] = seconds(first.command("push", "root", remote=remote), base)
    moved["first"] = registry.kept()
    trees = [tag for tag in stock.tags(repository) if tag.startswith("tree-")]
    ours = max(trees, key=lambda tag: sum(stock.layers(repository, tag).values()))
    settle()
    took["push next"] = seconds(second.command("push", "root", remote=remote), base)
    moved["next"] = registry.kept() - moved["first"]
    if not moved["first"] or not moved["next"]:
        raise Failed("nothing was pushed")
    before = registry.kept()
    push = in_turn({"push": second.command("push", "root", remote=remote)}, context.runs, base, 1)
    took["push again"] = list(push["push"].all)
    if registry.kept() != before:
        raise Failed("pushing what was there already left something more")
    for kind in ("gzip", "zstd"):
        before = registry.kept()
        settle()
        took[f"push {kind}"] = stock.push(tree, kind, base / "work", f"{registry.host}/{kind}", "1")
        moved[kind] = registry.kept() - before
    settle()
    empty = base / "empty"
    registry.sent()
    took["pull"] = seconds(first.command("build", "after", remote=remote, store=empty), base)
    sent, _ = registry.sent()
    if sent < 0.9 * moved["first"]:
        raise Failed(f"only {sent} bytes came out of the registry: it was built, not pulled")
    before = len(registry.blob_requests())
    pull = first.command("pull", "root", remote=remote, store=empty)
    took["pull again"] = list(in_turn({"pull": pull}, context.runs, base, 1)["pull"].all)
    if len(registry.blob_requests()) != before:
        raise Failed("pulling what was there already asked for blobs")
    set_aside(empty)
    settle()
    for name, at, tag, kind in (("skopeo", repository, ours, "zstd"),
                                ("gzip", f"{registry.host}/gzip", "1", "gzip")):
        took[f"pull {name}"] = stock.pull(at, tag, kind, base / "work", base / "unpacked")
        if stock.content(base / "unpacked") < 0.99 * stock.content(tree):
            raise Failed(f"skopeo and tar did not get everything out of {at}:{tag}")
        set_aside(base / "unpacked")
        settle()
    return took


def measure_modules(context, count: int, bars: bool) -> list[Row]:
    """Many small results to and from a build cache."""
    base = context.scratch / "modules"
    base.mkdir()
    say(f"{count} modules: making and building them")
    folder = base / "project"
    noop.generate(folder, count)

    def ours(store: str, *arguments) -> list:
        return [context.ashlar, "--store", base / store, "-C", folder, *arguments]

    if noop.summary(ours("store", "build"), folder)["built"] < 1:
        raise Failed("nothing was built")
    took: dict[str, list[float]] = {"push": [], "pull": [], "bst push": [], "bst pull": []}
    peer = BuildStream(base / "buildstream", folder, count)
    for turn in range(context.rounds):
        say(f"{count} modules through casd: round {turn + 1} of {context.rounds}")
        with Casd(base / f"casd-{turn}") as casd:
            remote = ["--remote", f"farm=reapi://{casd.host}"]
            settle()
            took["push"].append(seconds(ours("store", *remote, "push"), base))
            settle()
            read = [*remote, "--remote", "farm=read"]
            took["pull"].append(seconds(ours("empty", *read, "build"), base))
            found = noop.summary(ours("empty", "build"), folder)
            if found["hit"] < count or found["built"] > 0:
                raise Failed(f"after pulling, not everything was there: {found}")
            set_aside(base / "empty")
        with Casd(base / f"casd-bst-{turn}") as casd:
            settle()
            took["bst push"].append(peer.push(casd))
            settle()
            took["bst pull"].append(peer.pull(casd))
    best = {name: Best(tuple(all)) for name, all in took.items()}
    ratio = 0.1 if bars else None
    return [
        Row(f"push {count:,} modules to casd", best["push"], "BuildStream", best["bst push"],
            at_most_ratio=ratio),
        Row(f"build {count:,} modules by pulling", best["pull"], "BuildStream", best["bst pull"],
            at_most_ratio=ratio),
    ]


class BuildStream:
    """The same graph as elements that import one file each, which need no sandbox."""

    def __init__(self, folder: Path, sources: Path, count: int):
        self.folder = folder
        (folder / "elements").mkdir(parents=True)
        shutil.copytree(sources / "src", folder / "src")
        for n in range(count):
            module = (sources / f"modules/m{n}.toml").read_text()
            names = json.loads(module.split("depends = ", 1)[1].split("\n", 1)[0])
            depends = "".join(f"- {name}.bst\n" for name in names)
            (folder / f"elements/m{n}.bst").write_text(
                "kind: import\n" + (f"depends:\n{depends}" if depends else "")
                + f"sources:\n- kind: local\n  path: src/m{n}\nconfig:\n  target: /out\n")
        everything = "".join(f"- m{n}.bst\n" for n in range(count))
        (folder / "elements/all.bst").write_text(f"kind: stack\ndepends:\n{everything}")
        (folder / "project.conf").write_text(
            "name: bench\nmin-version: 2.4\nelement-path: elements\n")
        self.run("build", "all.bst", casd=None)

    def run(self, *arguments, casd: Casd | None) -> float:
        """Seconds of a command, with or without a server for artifacts."""
        config = f"cachedir: {self.folder / 'cache'}\nlogdir: {self.folder / 'logs'}\n"
        if casd is not None:
            config += ("artifacts:\n  override-project-caches: true\n  servers:\n"
                       f"  - url: http://{casd.host}\n    push: true\n")
        (self.folder / "config.yaml").write_text(config)
        environment = {**os.environ, "XDG_CONFIG_HOME": str(self.folder / "home"),
                       "XDG_CACHE_HOME": str(self.folder / "home")}
        return seconds([buildstream("bin/python"), buildstream("bin/bst"), "--no-colors",
                        "--no-interactive", "--config", self.folder / "config.yaml", *arguments],
                       self.folder, environment)

    def push(self, casd: Casd) -> float:
        return self.run("artifact", "push", "--deps", "all", "all.bst", casd=casd)

    def pull(self, casd: Casd) -> float:
        """Builds with nothing here, so that everything is pulled."""
        cache, kept = self.folder / "cache", self.folder / "cache.kept"
        cache.rename(kept)
        try:
            return self.run("build", "all.bst", casd=casd)
        finally:
            set_aside(cache)
            kept.rename(cache)
