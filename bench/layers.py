"""`ashlar cache` of a large build tree, beside one archive of it with tar and zstd."""

import json
import random
import subprocess
from pathlib import Path

import stock
from dropin import environment
from measure import Best, Failed, Times, need, run, say, seconds, set_aside, settle, wait_until_old
from report import Row
from servers import Registry

FILES, SIZE = 50_000, 1_000_000_000
SMALL_FILES, SMALL_SIZE = 2_000, 40_000_000
NOTHING_TO_DO = 1.0
# How many files of a build tree are in one folder, and what they are.
FOLDER, KINDS = 25, ("o", "d", "c", "h", "cmd")
# What of each file does not compress.
NOISE = 0.12

ARCHIVE = 'set -o pipefail; tar -C "$1" -cf - . | zstd -q -3 -T0 > "$2"'
EXTRACT = 'set -o pipefail; zstd -qdc "$1" | tar -C "$2" -xpf -'
LAYERS = """\
version = "1"
[layer.build]
key = ["modules/**"]
paths = ["build"]
[scope]
read = ["branch:${branch}", "branch:main"]
write = "branch:${branch}"
"""


def text(choose: random.Random, size: int) -> bytes:
    """Text of which zstd makes a quarter: words, each of them often."""
    letters = "abcdefghijklmnopqrstuvwxyz_"
    words = ["".join(choose.choices(letters, k=choose.randint(2, 9))) for _ in range(4_000)]
    # Some come far more often than others, as in any text.
    weights = [1 / (rank + 1) for rank in range(len(words))]
    written = " ".join(choose.choices(words, weights, k=size // 4))
    while len(written) < size:
        written += written
    return written[:size].encode()


def generate(folder: Path, files: int, size: int) -> None:
    """A build tree: many small files and some large, no two alike, partly noise."""
    choose = random.Random(5)
    sizes = [choose.lognormvariate(8.3, 1.8) for _ in range(files)]
    scale = size / sum(sizes)
    # Far longer than zstd looks back, so that it finds little twice.
    words = text(choose, 32_000_000 if files == FILES else 4_000_000)
    for number, wanted in enumerate(sizes):
        into = folder / f"d{number // FOLDER // 20}/d{number // FOLDER}"
        if number % FOLDER == 0:
            into.mkdir(parents=True)
        length = min(max(int(wanted * scale), 40), len(words) // 2)
        noise = choose.randbytes(max(int(length * NOISE), 16))
        start = choose.randrange(len(words) // 2)
        file = into / f"file{number}.{KINDS[number % len(KINDS)]}"
        file.write_bytes((noise + words[start:start + length])[:length])
        if number % 50 == 0:
            file.chmod(0o755)


class Workspace:
    """A checkout with a build tree that git does not track."""

    def __init__(self, context, folder: Path, files: int, size: int):
        self.ashlar, self.folder, self.tree = context.ashlar, folder, folder / "build"
        self.files, self.env = files, environment()
        (folder / "modules").mkdir(parents=True)
        for n in range(50):
            (folder / f"modules/m{n}").write_text(f"module {n}\n" * 50)
        (folder / "ashlar-cache.toml").write_text(LAYERS)
        (folder / ".gitignore").write_text("/build/\n/.build-*\n")
        git = [need("git", "git"), "-C", folder, "-c", "user.name=bench", "-c", "user.email=bench@"]
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
            run([*git, *words])
        generate(self.tree, files, size)
        self.size = stock.content(self.tree)

    def command(self, store: Path, *arguments, remote: str | None = None) -> list:
        remotes = [] if remote is None else ["--remote", f"team=oci://{remote}"]
        return [self.ashlar, "--store", store, *remotes, "cache", *arguments, "--branch", "main"]

    def timed(self, command: list) -> float:
        return seconds(command, self.folder, self.env)

    def said(self, command: list, **expected) -> None:
        """Runs a command that has to say so of the layer."""
        lines = run([command[0], "--json", *command[1:]], self.folder, self.env).splitlines()
        said = [line for line in map(json.loads, lines) if line.get("layer") == "build"]
        if len(said) != 1 or any(said[0].get(name) != value for name, value in expected.items()):
            raise Failed(f"{' '.join(map(str, command[3:]))} said {said}, not {expected}")

    def whole(self, tree: Path, who: str) -> None:
        """That everything is back."""
        if (found := stock.content(tree)) != self.size:
            raise Failed(f"{who} gave back {found} bytes of {self.size}")


def measure(context, full_size: bool) -> list[Row]:
    base = context.scratch / "layers"
    files, size = (FILES, SIZE) if full_size else (SMALL_FILES, SMALL_SIZE)
    say(f"a build tree of {size / 1e6:,.0f} MB in {files:,} files: making it")
    space = Workspace(context, base / "space", files, size)
    need("zstd", "zstd")
    store, archive = base / "store", base / "tree.tar.zst"
    wait_until_old()
    settle()
    say("keeping it for the first time")
    first = space.timed(space.command(store, "save"))
    settle()
    packed = seconds(["bash", "-c", ARCHIVE, "-", space.tree, archive], base)
    context.notes.append(f"the build tree: {space.size / 1e6:,.0f} MB in {files:,} files, as tar "
                         f"with `zstd -3` {archive.stat().st_size / 1e6:,.0f} MB")
    shown = f"{space.size / 1e6:,.0f} MB, {files:,} files"
    again = nothing_to_do(context, space, store)
    took = empty_trees(context, base, space, store, archive)
    took |= registries(context, base, space, store)
    best = {name: Best(tuple(all_times)) for name, all_times in took.items()}
    at_most = NOTHING_TO_DO if full_size else None
    return [
        Row(f"`ashlar cache save` of {shown}", first, "tar, zstd -3 -T0", packed),
        Row("save it again, nothing changed", again["save"], at_most=at_most),
        Row("restore it, nothing missing", again["restore"], at_most=at_most),
        Row("restore it into an empty tree", best["ours"], "zstd -d, tar -x", best["tar"],
            at_most_ratio=0.5 if full_size else None),
        Row("restore it from a registry, empty store", best["ours far"],
            "curl, zstd -d, tar -x", best["tar far"], at_most_ratio=1.0 if full_size else None),
    ]


def nothing_to_do(context, space: Workspace, store: Path) -> dict[str, Times]:
    """Saving what is kept, and restoring what is there."""
    save, restore = space.command(store, "save"), space.command(store, "restore")
    wait_until_old()
    run(restore, space.folder, space.env)  # times of its own, once
    wait_until_old()
    space.said(save, outcome="exists", place="local")
    space.said(restore, place="local", files=0, kept=space.files, removed=0)
    settle()
    say("saving and restoring it with nothing to do")
    took: dict[str, list[float]] = {"save": [], "restore": []}
    for _ in range(context.runs):
        took["save"].append(space.timed(save))
        took["restore"].append(space.timed(restore))
    space.said(restore, place="local", files=0, kept=space.files, removed=0)
    return {name: Times(tuple(all_times)) for name, all_times in took.items()}


def empty_trees(context, base: Path, space: Workspace, store: Path,
                archive: Path) -> dict[str, list[float]]:
    """Restoring where nothing is, from this machine."""
    took: dict[str, list[float]] = {"ours": [], "tar": []}
    for turn in range(context.rounds):
        say(f"an empty tree: round {turn + 1} of {context.rounds}")
        set_aside(space.tree)
        settle()
        took["ours"].append(space.timed(space.command(store, "restore")))
        space.whole(space.tree, "restore")
        into = base / "unpacked"
        set_aside(into)
        into.mkdir()
        settle()
        took["tar"].append(seconds(["bash", "-c", EXTRACT, "-", archive, into], base))
        space.whole(into, "tar")
    same_trees(space.tree, base / "unpacked")
    return took


def same_trees(ours: Path, theirs: Path) -> None:
    """That both hold the same files, byte by byte."""
    done = subprocess.run(["diff", "-rq", ours, theirs], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failed(f"what was restored is not what was packed: {done.stdout[:500]}")


def registries(context, base: Path, space: Workspace, store: Path) -> dict[str, list[float]]:
    """Restoring where nothing is, and nothing kept, from a registry on loopback."""
    took: dict[str, list[float]] = {"ours far": [], "tar far": []}
    with Registry(base / "registry") as registry:
        far = f"{registry.host}/layers"
        run(space.command(store, "save", "--require-push", remote=far), space.folder, space.env)
        kept = registry.kept()
        stock.push(space.tree, "zstd", base / "work", f"{registry.host}/stock", "1")
        context.notes.append(f"the build tree at the registry: {kept / 1e6:,.0f} MB, as an archive "
                             f"{(registry.kept() - kept) / 1e6:,.0f} MB")
        for turn in range(context.rounds):
            say(f"an empty tree and an empty store: round {turn + 1} of {context.rounds}")
            set_aside(space.tree)
            empty = base / f"empty-{turn}"
            settle()
            registry.sent()
            took["ours far"].append(space.timed(space.command(empty, "restore", remote=far)))
            sent, _ = registry.sent()
            if sent < 0.9 * kept:
                raise Failed(f"only {sent} of {kept} bytes came out of the registry")
            space.whole(space.tree, "restore")
            into = base / "fetched"
            set_aside(into)
            settle()
            took["tar far"].append(stock.use(f"{registry.host}/stock", "1", into, "zstd"))
            space.whole(into, "tar")
            set_aside(empty)
    return took
