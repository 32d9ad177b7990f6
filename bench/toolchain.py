"""`examples/toolchain-image` through a registry, where every run is on a machine that has built
nothing: failures, kills, edits, a package more, no registry, not enough time."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import builders
from builders import Ashlar, Buildah, BuildKit
from measure import Failed, run, say, set_aside, settle
from report import Row
from servers import Registry

SCRIPTS = ("zlib", "binutils", "openssl", "gawk", "bzip2")
# How long the last package is at work when the machine is switched off.
AT_WORK = 4
# After so many runs a budget counts as never enough.
MANY = 8


class Example:
    """A copy of the example, in the versions that the scenarios go through."""

    def __init__(self, context, folder: Path, quick: bool):
        self.folder = folder
        example = context.root / "examples/toolchain-image"
        folder.mkdir()
        for name in ("Dockerfile", ".dockerignore", "scripts", "prepare"):
            run(["cp", "-a", example / name, folder])
        if quick:
            self._stubs()
        else:
            for name in ("sources", "base"):
                if (example / name).is_dir():
                    run(["cp", "-al", example / name, folder])
            say("the example's sources and base")
            run([folder / "prepare"])
        self._dockerfile = (folder / "Dockerfile").read_text()

    def _stubs(self) -> None:
        """What takes a moment and makes as little, from the base of another part."""
        for name in SCRIPTS:
            (self.folder / "sources" / name).mkdir(parents=True)
            (self.folder / f"scripts/build-{name}.sh").write_text(
                "#!/bin/busybox sh\nset -e\ncd /build\nfor n in 1 2 3 4; do\n"
                "    [ -e $n ] || { busybox sleep 1; busybox touch $n; }\ndone\n"
                f"busybox mkdir -p /toolchain\nbusybox echo > /toolchain/{name}\n"
                "hide_output() { :; }\nhide_output make install\n")
        (self.folder / "scripts/check.sh").write_text("#!/bin/busybox sh\n")

    def use(self, builder) -> None:
        """Only ours knows checkpoints. A folder in memory is what others have for a folder that is
        in no layer."""
        text = self._dockerfile
        if not isinstance(builder, Ashlar):
            text = text.replace("type=checkpoint", "type=tmpfs")
            # After it buildah 1.28 finds nothing in its cache at the registry.
            text = text.replace("ARG JOBS=2\n", "")
        (self.folder / "Dockerfile").write_text(text)

    def script(self, name: str) -> Path:
        return self.folder / f"scripts/build-{name}.sh"

    def edit(self, name: str) -> None:
        with self.script(name).open("a") as file:
            file.write("# edited\n")

    def fail(self) -> Callable[[], None]:
        """A mistake in the end of the last script; what mends it."""
        script = self.script("gawk")
        before = script.read_text()
        script.write_text(before + "exit 3\n")
        return lambda: script.write_text(before)

    def add(self) -> None:
        """One package more, after the others."""
        after = "./build-gawk.sh\n"
        more = ("COPY scripts/build-bzip2.sh /tmp/\n"
                "RUN --mount=type=bind,source=sources/bzip2,target=/sources/bzip2 \\\n"
                "    --mount=type=checkpoint,target=/build ./build-bzip2.sh\n")
        if after not in self._dockerfile:
            raise Failed("the example's Dockerfile does not build gawk last")
        self._dockerfile = self._dockerfile.replace(after, after + more)


class Side:
    """One builder with a registry of its own, and the machines it had."""

    def __init__(self, base: Path, registry: Registry, make: Callable, example: Example,
                 image: str):
        self.base, self.registry, self.make, self.example = base, registry, make, example
        self.image = image
        self._machines, self.builder = 0, None
        self.took: dict[str, float] = {}
        self.said: dict[str, int] = {}

    def machine(self) -> None:
        """Another machine, which has nothing; the one before is gone."""
        self.close()
        self._machines += 1
        self.builder = self.make(self.base / f"machine-{self._machines}", self.registry.host,
                                 self.image)

    def close(self) -> None:
        if self.builder is not None:
            self.builder.close()
            set_aside(self.builder.machine)
            self.builder = None

    def begin(self, *words) -> tuple[subprocess.Popen, Path, float]:
        self.example.use(self.builder)
        log = self.base / "log"
        settle()
        begun = time.perf_counter()
        with log.open("wb") as file:
            process = subprocess.Popen(["sh", "-c", self.builder.build(self.example.folder, *words)],
                                       stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        return process, log, begun

    def run(self, name: str, fails: bool = False, any_code: bool = False, words=()) -> str:
        """How long a build takes that succeeds, or fails; what it says."""
        process, log, begun = self.begin(*words)
        try:
            code = process.wait()
        except BaseException:
            builders.kill(process.pid)
            raise
        took = time.perf_counter() - begun
        said = log.read_text(errors="replace")
        if not any_code and (code != 0) != fails:
            last = "\n".join(said.splitlines()[-20:])
            raise Failed(f"{self.builder.name}, {name}: ended with {code}:\n{last}")
        self.took[name], self.said[name] = took, code
        say(f"{self.builder.name}, {name}: {took:.1f} s, exit code {code}")
        return said

    def run_until_killed(self, name: str, text: str) -> None:
        """How long until an instruction is at work; then the machine is switched off."""
        process, log, begun = self.begin()

        def at_work() -> bool:
            lines = log.read_text(errors="replace").splitlines()
            return any(line.startswith(self.builder.begins) and text in line for line in lines)

        try:
            while not at_work():
                if process.poll() is not None:
                    last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                    raise Failed(f"{self.builder.name} ended before {text} was at work:\n{last}")
                time.sleep(0.05)
            self.took[name] = time.perf_counter() - begun
            time.sleep(AT_WORK)
        finally:
            builders.kill(process.pid)
            process.wait()
            if isinstance(self.builder, BuildKit):
                builders.kill(self.builder.server.pid)
                self.builder.server.wait()
        say(f"{self.builder.name}, {name}: {self.took[name]:.1f} s, then killed")


def fail_and_mend(side: Side) -> None:
    """What all builders go through first. Every build is on a new machine but where it says so."""
    example = side.example
    mend = example.fail()
    side.machine()
    side.run("fails", fails=True)
    mend()
    side.machine()
    side.run("mended")
    side.machine()
    side.run("another machine")


def change(side: Side) -> None:
    """What all builders go through then."""
    example = side.example
    example.edit("openssl")
    side.machine()
    side.run_until_killed("killed", " ./build-gawk.sh")
    side.machine()
    side.run("after the kill")
    before = side.registry.kept()
    example.add()
    side.machine()
    side.run("added")
    side.took["bytes"] = (side.registry.kept() - before) / 1e6
    # On the same machine, which finds all but the last package in what it has.
    example.edit("bzip2")
    side.registry.__exit__()
    said = side.run("no registry", any_code=True)
    side.registry.__enter__()
    if isinstance(side.builder, Ashlar):
        if side.said["no registry"] != 0 or "remote team" not in said:
            raise Failed("a build without its registry does not succeed with a warning")
        side.run("the registry again", words=["--require-push"])
        side.machine()
        summary = side.run("what it left there", words=["--json"])
        if summary_of(summary)["built"] != 0:
            raise Failed("what was built without the registry did not get there later")


def summary_of(said: str) -> dict:
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return next(event for event in reversed(events) if event["event"] == "summary")


def cold_again(side: Side) -> None:
    """Once more all of it, with a registry that has nothing. A machine that is shared with others is
    slower in one hour than in another: what several builds take beside a cold one says little when
    it was built in another hour. So the one before them counts and the one after them, half each."""
    before = side.registry
    with Registry(side.base / "registry-cold") as side.registry:
        side.machine()
        side.run("cold again")
    side.registry = before
    side.took["cold"] = (side.took["fails"] + side.took["cold again"]) / 2


def budget(side: Side, new: bool) -> tuple[int, float]:
    """A third of the time of a cold build at once, until it is done: how many runs, and how long
    all of them. On one machine, or each time on another one. The cold build is the one that failed
    in the end of its last package: it lacks the last second."""
    runs, whole, before = 0, 0.0, side.registry
    with Registry(side.base / f"registry-budget-{'new' if new else 'one'}") as side.registry:
        while True:
            runs += 1
            if new or runs == 1:
                side.machine()
            name = f"a third of the time, run {runs}"
            side.run(name, any_code=True, words=["--budget", f"{int(side.took['fails'] / 3)}s"])
            whole += side.took[name]
            if side.said[name] == 0:
                break
            if side.said[name] != 5 or runs == MANY:
                raise Failed(f"run {runs} with a budget ended with {side.said[name]}")
    side.registry = before
    return runs, whole


def measure(context, quick: bool) -> list[Row]:
    base = context.scratch / "toolchain"
    base.mkdir()
    kinds: dict[str, Callable] = {
        "ashlar": lambda *where: Ashlar(context.ashlar, *where),
        "buildah": Buildah,
    }
    if builders.is_there("dockerd"):
        kinds["BuildKit"] = BuildKit
    else:
        context.notes.append("BuildKit was not measured: the Debian package docker.io is missing")
    sides: dict[str, Side] = {}
    # The base is at a registry of its own, which does not go away.
    with Registry(base / "registry-bases") as bases:
        image = f"{bases.host}/base:debian"
        for name, make in kinds.items():
            folder = base / name
            folder.mkdir()
            example = Example(context, folder / "context", quick)
            if quick:
                small_base(context, example)
            run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false",
                 f"oci:{example.folder}/base:debian", f"docker://{image}"])
            with Registry(folder / "registry") as registry:
                side = sides[name] = Side(folder, registry, make, example, image)
                try:
                    fail_and_mend(side)
                    if name == "ashlar":
                        thirds = [budget(side, new) for new in (False, True)]
                        cold_again(side)
                    change(side)
                finally:
                    side.close()
    return rows(sides, thirds, not quick)


def small_base(context, example: Example) -> None:
    """An image of busybox in the place of Debian."""
    import noop

    folder = example.folder.with_name("small")
    noop.busybox_root(folder / "rootfs")
    (folder / "rootfs/tmp").mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY rootfs /\nENV PATH=/usr/local/bin:/bin\n")
    run([context.ashlar, "--store", folder / "store", "image", "build", "--output",
         f"oci:{example.folder}/base:debian", folder])


def rows(sides: dict[str, Side], thirds: list[tuple[int, float]], bars: bool) -> list[Row]:
    ours = sides["ashlar"]
    works = {
        "fails": "a mistake in the last package, found when the rest is built",
        "mended": "then without it",
        "another machine": "then with nothing changed",
        "killed": "OpenSSL's script edited, until gawk is at work and the machine is switched off",
        "after the kill": "then the same again",
        "added": "one package more",
        "bytes": "bytes sent for one package more",
    }
    all = []
    for name, work in works.items():
        for peer, side in sides.items():
            if side is not ours:
                unit = "MB" if name == "bytes" else "s"
                all.append(Row(f"toolchain: {work}", ours.took[name], peer, side.took[name],
                               unit=unit))
    for peer, side in sides.items():
        if side is not ours:
            how = "succeeds" if side.said["no registry"] == 0 else "fails"
            all.append(Row("toolchain: without the registry, on the machine that has the rest",
                           ours.took["no registry"], f"{peer}, which {how},",
                           side.took["no registry"]))
    for where, (runs, whole) in zip(("one machine", "ever new machines"), thirds, strict=True):
        all.append(Row(f"toolchain: a third of the time at once on {where}, runs", float(runs),
                       at_most=4 if bars else None, unit="runs"))
        all.append(Row("toolchain: all of these runs", whole, "one cold build, before and after",
                       ours.took["cold"], at_most_ratio=1.1 if bars else None))
    return all
