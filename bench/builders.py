"""What builds an image and shares its cache through a registry: ashlar, buildah, and the BuildKit
that is in Debian's docker.io. A machine is a folder with all that a builder keeps on its own."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from measure import Failed, need, run

# How long until a server of Docker answers.
START = 30


def script(*commands: list) -> str:
    """Commands of which each needs the one before it."""
    return " && ".join(shlex.join(map(str, command)) for command in commands)


class Ashlar:
    """Ours: a remote at the registry, and nothing else that has to be said."""

    name = "ashlar"
    # What it says when an instruction begins.
    begins = "building "

    def __init__(self, program: Path, machine: Path, registry: str, base: str):
        self.program, self.machine, self.registry, self.base = program, machine, registry, base

    def build(self, context: Path, *words) -> str:
        return script([self.program, "--store", self.machine / "store", "--remote",
                       f"team=oci://{self.registry}/cache", "image", "build", "--build-arg",
                       f"BASE={self.base}", "-t", "toolchain", *words, context])

    def close(self) -> None:
        """It leaves no process and no mount."""


class Buildah:
    """buildah with layers, which it pushes to the registry one by one."""

    name = "buildah"
    begins = "["

    def __init__(self, machine: Path, registry: str, base: str):
        need("buildah", "buildah")
        need("runc", "runc")
        self.machine, self.registry, self.base = machine, registry, base

    def command(self, *words) -> list:
        return ["buildah", "--root", self.machine / "root", "--runroot", self.machine / "run",
                "--storage-driver", "overlay", *words]

    def build(self, context: Path) -> str:
        cache = f"{self.registry}/cache"
        return script(self.command(
            "bud", "--isolation", "oci", "--runtime", "runc", "--network", "none", "--layers",
            "--format", "oci", "--tls-verify=false", "--cache-from", cache, "--cache-to", cache,
            "--build-arg", f"BASE={self.base}", "-t", "toolchain", context))

    def close(self) -> None:
        """Its mounts go with its containers."""
        subprocess.run(self.command("rm", "--all"), check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)


class BuildKit:
    """The BuildKit of docker.io, whose cache is in the image that is pushed when all is done. Of a
    stage that is not in the image it keeps nothing there, so the stage is built and pushed by
    itself, as its users do."""

    name = "BuildKit"
    begins = "#"

    def __init__(self, machine: Path, registry: str, base: str):
        need("dockerd", "docker.io")
        need("containerd", "containerd")
        # The one beside dockerd: there may be others that lack what this one says.
        self.docker = Path(need("dockerd", "docker.io")).parent.parent / "bin/docker"
        self.machine, self.registry, self.base = machine, registry, base
        machine.mkdir(parents=True)
        socket = machine / "socket"
        with (machine / "log").open("wb") as log:
            self.server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", "dockerd", "--iptables=false",
                 "--ip-forward=false", "--bridge=none", "--data-root", machine / "data",
                 "--exec-root", machine / "exec", "--pidfile", machine / "pid", "--host",
                 f"unix://{socket}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + START
        while subprocess.run([self.docker, "-H", f"unix://{socket}", "version"], check=False,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            if self.server.poll() is not None or time.monotonic() > until:
                said = (machine / "log").read_text(errors="replace")[-1500:]
                self.close()
                raise Failed(f"dockerd does not answer:\n{said}")
            time.sleep(0.1)

    def build(self, context: Path) -> str:
        commands = []
        images = [f"{self.registry}/stage", f"{self.registry}/image"]
        for image, words in zip(images, (["--target", "build"], []), strict=True):
            caches = [word for one in images for word in ("--cache-from", one)]
            commands.append([self.docker, "build", "--progress", "plain", "--network", "none",
                             "--build-arg", "BUILDKIT_INLINE_CACHE=1", "--build-arg",
                             f"BASE={self.base}", *caches, *words, "-t", image,
                             context])
            commands.append([self.docker, "push", image])
        said = {"DOCKER_BUILDKIT": "1", "DOCKER_HOST": f"unix://{self.machine}/socket",
                "DOCKER_CONFIG": f"{self.machine}/config"}
        return "".join(f"export {name}={value}; " for name, value in said.items()) + \
            script(*commands)

    def close(self) -> None:
        if self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                kill(self.server.pid)
                self.server.wait()
        unmount(self.machine)


def family(pid: int) -> list[int]:
    """A process and all that it started, as far as /proc shows them."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(errors="replace")
        except OSError:
            continue
        # After the name, which may hold anything, come the state and the parent.
        parents.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(stat.parts[2]))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += parents.get(one, [])
    return found


def kill(pid: int) -> None:
    """Kills a process and all that it started, as when the machine is switched off."""
    for one in family(pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def unmount(folder: Path) -> None:
    """Ends what a program that was killed has left mounted, the innermost first."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(places):
        if Path(place).is_relative_to(folder.resolve()):
            run(["umount", place])


def is_there(program: str) -> bool:
    return shutil.which(program) is not None
