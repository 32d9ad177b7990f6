"""An artifact of several architectures between the tasks of a pipeline, beside one archive that
everybody moves whole."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import noop
import stock
from measure import Failed, need, remove, resident, run, say, settle
from report import Row
from servers import Registry

MIB = 2**20
# A runtime's prefetched packages: MiB for each architecture, and of sources.
ARCHITECTURES = {"amd64": 295, "arm64": 271, "ppc64el": 281, "s390x": 285}
SOURCE = 2719
# What stands under every architecture alike.
NOARCH = 0.2
# In the stock pipeline of four architectures the whole archive is restored so many times.
STOCK_RESTORES = 8


def real_packages(context, into: Path, wanted: int) -> list[Path]:
    """Packages of Debian, of all sizes, as many as make so many bytes: those that are installed
    here, fetched by apt. Packages made of noise when apt cannot."""
    into.mkdir(parents=True)
    names = run(["dpkg-query", "-W", "-f", "${Package}:${Architecture}\n"]).split()
    random.Random(3).shuffle(names)
    size = 0
    try:
        need("apt-get", "apt")
        for at in range(0, len(names), 20):
            if size >= wanted:
                break
            download(into, names[at:at + 20])
            size = sum(path.stat().st_size for path in into.iterdir())
    except Failed as error:
        say(f"apt: {error}")
    if size < wanted:
        context.notes.append(f"of the packages in the artifact, {size / 1e6:.0f} MB are Debian's; "
                             "the others are noise of similar sizes")
        choose = random.Random(4)
        while size < wanted:
            length = min(int(choose.lognormvariate(11.5, 1.6)) + 700, wanted // 4 + 1000)
            (into / f"noise-{size}.deb").write_bytes(choose.randbytes(length))
            size += length
    return sorted(into.iterdir())


def download(into: Path, names: list[str]) -> None:
    """Packages as apt has them; those installed by hand, which it has not, are left out."""
    fetch = 'cd "$1"; shift; apt-get -qq -o APT::Sandbox::User=root download "$@"'
    try:
        run(["bash", "-c", fetch, "-", into, *names])
    except Failed:
        if len(names) == 1:
            return
        for name in names:
            download(into, [name])


class Packages:
    """Ever more packages of the same sizes as real ones: a second copy has every byte exchanged
    for another, so that it compresses as the first does and shares nothing with it."""

    def __init__(self, real: list[Path]):
        self.real = real
        self._endless = self._all()

    def _all(self) -> Iterator[tuple[str, bytes]]:
        for copy in range(256):
            table = bytes((byte + copy) % 256 for byte in range(256))
            for path in self.real:
                yield f"{copy}-{path.name}", path.read_bytes().translate(table)

    def fill(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True)
        while size > 0:
            name, content = next(self._endless)
            (folder / name).write_bytes(content)
            size -= len(content)


def generate(context, folder: Path, scale: float) -> None:
    """`ARCH/` for each architecture and `source/`, as a prefetch leaves them."""
    packages = Packages(real_packages(context, folder / "real", max(int(160 * MIB * scale), MIB)))
    noarch = folder / "noarch"
    packages.fill(noarch, int(min(ARCHITECTURES.values()) * MIB * scale * NOARCH))
    for name, size in ARCHITECTURES.items():
        into = folder / f"tree/{name}"
        packages.fill(into / "main", int(size * MIB * scale) - stock.content(noarch))
        shutil.copytree(noarch, into / "noarch")
    packages.fill(folder / "tree/source", int(SOURCE * MIB * scale))
    remove(noarch)
    remove(folder / "real")


def timed(command: list, folder: Path) -> tuple[float, float]:
    """Seconds of a command, and the most memory it has had, in MB."""
    begun = time.perf_counter()
    memory = resident(command, folder)
    return time.perf_counter() - begun, memory


def measure(context, scale: float, bars: bool) -> list[Row]:
    base = context.scratch / "artifact"
    base.mkdir()
    say(f"an artifact of {len(ARCHITECTURES)} architectures and sources: making its packages")
    generate(context, base, scale)
    tree = base / "tree"
    sizes = {name: stock.content(tree / name) for name in [*ARCHITECTURES, "source"]}
    everything = sum(sizes.values())
    # Names and modes have to be moved too.
    own = int(run(["bash", "-c", 'tar -C "$1" -cf - . | wc -c', "-", tree / "amd64"]))
    say("the memory of a build with nothing to do")
    noop.generate(base / "noop", 10)
    nothing = [context.ashlar, "--store", base / "noop.store", "build"]
    run(nothing, base / "noop")
    idle = resident(nothing, base / "noop")
    shown = f"{everything / 1e6:,.0f} MB"
    with Registry(base / "registry") as registry:
        parts = [word for name in ARCHITECTURES for word in ("--arch", f"{name}={tree / name}")]
        create = [context.ashlar, "artifact", "create", "--store", f"{registry.host}/composite",
                  *parts, "--source", tree / "source", "--result", f"prefetch={base / 'reference'}",
                  "prefetch"]
        say(f"an artifact of {shown}: ours")
        settle()
        created, heavy_create = timed(create, base)
        sent = registry.kept()
        say("the same again, as an archive that is moved whole")
        settle()
        theirs = stock.push(tree, "gzip", base / "work", f"{registry.host}/stock", "1")
        blob = registry.kept() - sent
        settle()
        restored = stock.use(f"{registry.host}/stock", "1", base / "restored")
        if stock.content(base / "restored") != everything:
            raise Failed("the archive did not give back everything")
        remove(base / "restored")
        reference = (base / "reference").read_text().strip()
        took, moved = {}, {}
        registry.sent()
        for name in [*ARCHITECTURES, "all"]:
            settle()
            which = ["--all"] if name == "all" else ["--arch", name]
            took[name], heavy_use = timed([context.ashlar, "artifact", "use",
                                           f"{reference}={base / 'restored'}", *which], base)
            moved[name], _ = registry.sent()
            expected = everything if name == "all" else sizes[name]
            if stock.content(base / "restored") != expected:
                raise Failed(f"restoring {name} gave {stock.content(base / 'restored')} bytes, "
                             f"not {expected}")
            remove(base / "restored")
    remove(base)
    context.notes.append(
        f"the artifact: {shown}, of which {sizes['amd64'] / 1e6:.0f} MB are amd64's; our registry "
        f"keeps {sent / 1e6:,.0f} MB, the stock one {blob / 1e6:,.0f} MB; the stock pipeline "
        f"restores it {STOCK_RESTORES} times")
    one = "restore one architecture of an artifact"
    limit = 64 * MIB / 1e6 if bars else None
    return [
        Row(f"create an artifact of {shown}", created, "tar, gzip -n, one upload", theirs),
        Row(one, took["amd64"], "the whole archive, tar", restored),
        Row(f"bytes to {one}", moved["amd64"] / 1e6, "its own as tar", own / 1e6,
            at_most_ratio=1.0 if bars else None, unit="MB"),
        Row("bytes of 4 builds and 1 source build", sum(moved.values()) / 1e6, "the stock pipeline",
            STOCK_RESTORES * blob / 1e6, at_most_ratio=0.25 if bars else None, unit="MB"),
        Row(f"memory to create {shown}, above a no-op", heavy_create - idle, at_most=limit,
            unit="MB"),
        Row(f"memory to restore {shown}, above a no-op", heavy_use - idle, at_most=limit,
            unit="MB"),
    ]
