"""The servers that remotes are measured against, on loopback."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from measure import Failed, need

# What docker-registry says of a request when it is over, without the fields that are not read.
DONE = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/1\.1" (?P<status>\d+) (?P<bytes>\d+) ')


def servers_folder() -> Path:
    """Where scripts/servers puts what Debian does not have."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ASHLAR_TEST_SERVERS") or Path(cache) / "ashlar-test-servers")


def buildstream(path: str) -> Path:
    """A file of BuildStream's environment."""
    found = list((servers_folder() / "python/buildstream").glob(path))
    if not found:
        raise Failed("BuildStream is not installed: `make install-test-needs`")
    return found[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process that serves in a folder of its own, as long as the `with` lasts."""

    def __init__(self, folder: Path, name: str):
        folder.mkdir(parents=True)
        self.folder, self.name, self.port = folder, name, free_port()
        self.process: subprocess.Popen | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list:
        raise NotImplementedError

    def __enter__(self):
        # It goes when this program does, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, self.command())]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    said = self.log()[-1500:]
                    self.__exit__()
                    raise Failed(f"{self.name} does not answer:\n{said}") from None
                time.sleep(0.02)

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        # Its folder goes with all others at the end: see `set_aside`.

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class Registry(Server):
    """docker-registry. What it writes into its log, and what it keeps, says what was moved."""

    def __init__(self, folder: Path):
        super().__init__(folder, "docker-registry")
        self._read = 0

    def command(self) -> list:
        file = self.folder / "config.yml"
        file.write_text("version: 0.1\nstorage:\n"
                        f"  filesystem: {{rootdirectory: {self.folder}/data}}\n"
                        f"http:\n  addr: {self.host}\n  secret: bench\n")
        return [need("docker-registry", "docker-registry"), "serve", file]

    def kept(self) -> int:
        """How many bytes all its blobs have, manifests too: what was sent, as everything is
        sent once."""
        blobs = self.folder / "data/docker/registry/v2/blobs"
        return sum(path.stat().st_size for path in blobs.rglob("data"))

    def sent(self) -> tuple[int, int]:
        """Bytes of bodies that it has sent since this was asked last, and how many requests
        there were."""
        time.sleep(0.05)  # its last line may be on its way
        text = self.log()
        new, self._read = text[self._read:], len(text)
        found = [match for match in map(DONE.search, new.splitlines()) if match]
        return sum(int(match["bytes"]) for match in found if match["method"] == "GET"), len(found)

    def blob_requests(self) -> list[str]:
        """What was asked of blobs, in all: method and path."""
        found = map(DONE.search, self.log().splitlines())
        return [f"{m['method']} {m['path']}" for m in found if m and "/blobs/" in m["path"]]


class Casd(Server):
    """buildbox-casd, for content, results, and BuildStream's artifacts."""

    def __init__(self, folder: Path):
        super().__init__(folder, "buildbox-casd")

    def command(self) -> list:
        program = buildstream("lib/python3*/site-packages/buildstream/subprojects/buildbox/"
                              "buildbox-casd")
        return [program, "--bind", self.host, "--reserved", "64M", self.folder / "data"]
