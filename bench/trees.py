"""Keeping, staging and checking out a large tree, against cp and the programs made for that."""

import os
import re
import shutil
import time
from pathlib import Path

from measure import Best, Failed, need, remove, run, say, seconds, settle
from report import Row

# What crates/ashlar-store/examples/bars.rs prints: a label, seconds, perhaps a peer with its own.
LINE = re.compile(r"^(?P<label>\S.*?)\s+(?P<took>\d+\.\d+)"
                  r"(?:   (?P<peer>\S.*?) (?P<theirs>\d+\.\d+)   ratio [\d.]+)?$")

# label of the program, name of the work, bar in seconds, bar against the peer
WORK = (
    ("keep_folder", "keep a layer that a step made", 0.8, 1.0),
    ("import_folder", "import a tree from outside", None, 1.2),
    ("import_folder again, 4 MB changed", "import its next revision, 4 MB changed", 0.3, None),
    ("stage again, in a new process", "stage it again", 0.020, None),
    ("stage the first time", "stage it for the first time", None, 1.5),
    ("check_out link", "check it out as links", None, 1.5),
    ("check_out copy", "check it out as copies", None, 1.5),
)

# The lines where `bars` shows what a peer took; later lines repeat the figure.
FIRST_USE = ("keep_folder", "check_out link", "check_out copy")


def figures(text: str) -> dict[str, list[tuple[float, str, float | None]]]:
    """What `bars` printed, by label; a label can come several times."""
    found: dict[str, list[tuple[float, str, float | None]]] = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            theirs = match["theirs"]
            found.setdefault(match["label"], []).append(
                (float(match["took"]), match["peer"] or "", float(theirs) if theirs else None))
    return found


def measure(context, tree: Path, full_size: bool) -> list[Row]:
    files = size = 0
    for folder, _, names in os.walk(tree):
        for name in names:
            meta = os.lstat(os.path.join(folder, name))
            files, size = files + 1, size + meta.st_size
    what = f"{size / 1e6:.0f} MB, {files:,} files"
    judged = "" if full_size else ", which is too small to judge by"
    context.notes.append(f"the tree: {what}{judged}")
    bars = context.bars()
    peers: dict[str, list[float]] = {}
    seen: dict[str, list[tuple[float, str, float | None]]] = {}
    for turn in range(context.rounds):
        say(f"a tree of {what}: round {turn + 1} of {context.rounds}")
        work = context.scratch / "trees"
        work.mkdir()
        # Everything below reads it from memory, the first as well as the last.
        run(["bash", "-c", 'find "$1" -type f -exec cat {} + > /dev/null', "-", tree])
        settle()
        for peer, took in once_more(work, tree).items():
            peers.setdefault(peer, []).append(took)
        for label, all in figures(run([bars, work, tree])).items():
            seen.setdefault(label, []).extend(all)
            for _, peer, theirs in all[:1]:
                if theirs is not None and label in FIRST_USE:
                    peers[peer].append(theirs)
        context.forget(work)
        settle()
    rows = []
    for label, work, at_most, ratio in WORK:
        if label not in seen:
            raise Failed(f"crates/ashlar-store/examples/bars.rs prints no line {label!r} any more")
        all = seen[label]
        theirs = Best(tuple(peers[all[0][1]])) if all[0][1] else None
        if ratio is not None and theirs is None:
            raise Failed(f"crates/ashlar-store/examples/bars.rs has no peer for {label!r}")
        peer = all[0][1].replace("find | xargs -P2 sha256sum", "sha256sum on 2 cores")
        # Bars are for the tree of 441 MB.
        rows.append(Row(work, Best(tuple(took for took, _, _ in all)), peer, theirs,
                        at_most if full_size else None, ratio if full_size else None))
    ours = {label: rows[at].ours for at, (label, *_) in enumerate(WORK)}
    say("the same tree with the programs made for it")
    for peer, (store, again) in others(context, tree).items():
        rows.append(Row(WORK[1][1], ours[WORK[1][0]], peer, store))
        if again is not None:
            rows.append(Row(WORK[2][1], ours[WORK[2][0]], peer, again))
    return rows


def once_more(work: Path, tree: Path) -> dict[str, float]:
    """The peers of `bars` once more: there each is measured once, and `cp -a` before all else."""
    copy, links = work / "copy", work / "links"
    took = {"cp -a": seconds(["cp", "-a", tree, copy], work)}
    settle()
    took["cp -al"] = seconds(["cp", "-al", copy, links], work)
    hashing = 'find "$1" -type f -print0 | xargs -0 -P2 -n 200 sha256sum'
    took["find | xargs -P2 sha256sum"] = seconds(["sh", "-c", hashing, "-", copy], work)
    remove(copy)
    remove(links)
    settle()
    return took


def others(context, tree: Path) -> dict[str, tuple[float, float | None]]:
    """Seconds of each to store the tree, and then its next revision."""
    work = context.scratch / "others"
    work.mkdir()
    next_tree = work / "next"
    run(["cp", "-a", tree, next_tree])
    (next_tree / "new").write_bytes(os.urandom(4_000_000))
    settle()
    took: dict[str, tuple[float, float | None]] = {}

    def timed(command: list) -> float:
        begun = time.perf_counter()
        run(command)
        return time.perf_counter() - begun

    try:
        ostree, repository = need("ostree", "ostree"), f"--repo={work / 'ostree'}"
        run([ostree, repository, "init", "--mode=bare"])
        commit = [ostree, repository, "commit", "--branch=b", "--fsync=false"]
        took["ostree commit"] = (timed([*commit, f"--tree=dir={tree}"]),
                                 timed([*commit, f"--tree=dir={next_tree}"]))
        remove(work / "ostree")
        settle()
        casync = [need("casync", "casync"), "make", f"--store={work / 'casync'}"]
        (work / "casync").mkdir()
        took["casync make"] = (timed([*casync, work / "a.caidx", tree]),
                               timed([*casync, work / "b.caidx", next_tree]))
        remove(work / "casync")
        settle()
        rsync = [need("rsync", "rsync"), "-a", "--delete"]
        took["rsync -a"] = (timed([*rsync, f"{tree}/", f"{work / 'rsync'}/"]),
                            timed([*rsync, f"{next_tree}/", f"{work / 'rsync'}/"]))
        remove(work / "rsync")
        settle()
        need("zstd", "zstd")
        took["tar, zstd -3 -T0"] = (timed(["bash", "-o", "pipefail", "-c",
                                    'tar -C "$1" -cf - . | zstd -q -3 -T0 > "$2"', "-", tree,
                                    work / "tree.tar.zst"]), None)
    finally:
        remove(work)
    return took


def small(context) -> Path:
    """A tree to try things with."""
    tree = context.scratch / "small"
    shutil.copytree(context.root / "crates", tree / "crates")
    (tree / "etc").mkdir()  # bars changes some files there
    return tree
