"""Runs commands and says what they took."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    """Something cannot be measured, with the reason."""


@dataclass(frozen=True)
class Times:
    """Seconds of several runs of the same work."""

    all: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.all)


class Best(Times):
    """Times of which the best counts: for work that writes much, where a disk that is shared with
    others makes some runs several times slower than the rest, for whoever runs then."""

    @property
    def median(self) -> float:
        return min(self.all)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def need(program: str, package: str) -> str:
    """The path of a program, or how to get it."""
    path = shutil.which(program)
    if path is None:
        raise Failed(f"`{program}` is not installed: the Debian package {package}")
    return path


def run(command: list, cwd: Path | None = None, env: dict | None = None) -> str:
    """Runs a command that must succeed; its standard output."""
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise Failed(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{last}")
    return done.stdout


def seconds(command: list, cwd: Path, env: dict | None = None) -> float:
    """How long a command takes, from before it is started until it is waited for.

    Its output goes nowhere, but for errors, which go to a file. `posix_spawn` shares memory with
    this process instead of copying it, so that the size of Python is not part of the figure.
    """
    program = shutil.which(str(command[0]))
    if program is None:
        raise Failed(f"`{command[0]}` is not installed")
    before = os.getcwd()
    os.chdir(cwd)
    try:
        with tempfile.TemporaryFile() as errors:
            files = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                     (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                     (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
            begun = time.perf_counter()
            pid = os.posix_spawn(program, [str(word) for word in command],
                                 os.environ if env is None else env, file_actions=files)
            try:
                _, status = os.waitpid(pid, 0)
            except BaseException:  # a signal: nothing goes on behind our back
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
                raise
            took = time.perf_counter() - begun
            errors.seek(0)
            last = errors.read().decode(errors="replace").splitlines()[-25:]
    finally:
        os.chdir(before)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        raise Failed(f"{command[0]} ended with {code}:\n" + "\n".join(last))
    return took


def in_turn(commands: dict[str, list], runs: int, cwd: Path, warm: int = 2) -> dict[str, Times]:
    """Several commands, one after another in each round, so that what else the machine does
    meets them alike."""
    for command in commands.values():
        for _ in range(warm):
            seconds(command, cwd)
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            took[name].append(seconds(command, cwd))
    return {name: Times(tuple(all)) for name, all in took.items()}


def resident(command: list, cwd: Path) -> float:
    """The most memory a command has had, in MB.

    GNU time asks: it is small itself, and what a process inherits of its parent counts.
    """
    time_program = need("/usr/bin/time", "time")
    done = subprocess.run([time_program, "-q", "-f", "%M", *map(str, command)], cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Failed(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return int(done.stderr.split()[-1]) * 1024 / 1e6


def settle() -> None:
    """What one measurement has left to be written is not the next one's to pay."""
    os.sync()


def wait_until_old() -> None:
    """Files younger than the granularity of their times are read again, because a change could
    hide; a user's are older."""
    time.sleep(3)


def set_aside(folder: Path) -> None:
    """Puts a folder out of the way until the end. ext4 makes new files slowly, by a factor of ten,
    where many have been removed in the last minutes; whoever is measured next would pay for that."""
    if folder.exists():
        folder.rename(folder.with_name(f".{folder.name}-{time.monotonic_ns()}"))


def remove(folder: Path) -> None:
    """A folder with everything in it, also what nobody may enter."""
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)
