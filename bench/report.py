"""The table, as text and in docs/performance.md."""

import datetime
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measure import Failed, Times

BEGIN = "<!-- From here to the end mark bench/run writes; by hand only outside of it. -->"
END = "<!-- the end of what bench/run writes -->"
HEAD = ("work", "ours", "peer", "ratio", "bar", "holds")


@dataclass(frozen=True)
class Row:
    """One work that was measured. Numbers are seconds, or megabytes where `unit` says so."""

    work: str
    ours: Times | float
    peer: str = ""
    theirs: Times | float | None = None
    at_most: float | None = None
    at_most_ratio: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else middle(self.ours) / middle(self.theirs)

    @property
    def holds(self) -> bool | None:
        """Whether every bar holds; `None` where there is none."""
        bars = []
        if self.at_most is not None:
            bars.append(middle(self.ours) <= self.at_most)
        if self.at_most_ratio is not None and self.ratio is not None:
            bars.append(self.ratio <= self.at_most_ratio)
        return all(bars) if bars else None

    def cells(self) -> tuple[str, ...]:
        bars = []
        if self.at_most is not None:
            bars.append(f"≤ {amount(self.at_most, self.unit)}")
        if self.at_most_ratio is not None:
            bars.append(f"≤ {self.at_most_ratio:g} ×")
        theirs = "–"
        if self.theirs is not None:
            theirs = f"{self.peer} {figure(self.theirs, self.unit)}"
        return (self.work, figure(self.ours, self.unit), theirs,
                "–" if self.ratio is None else f"{self.ratio:.2f}",
                ", ".join(bars) or "–", {None: "–", True: "yes", False: "**no**"}[self.holds])


@dataclass(frozen=True)
class Missing:
    """Work that was not measured, and why."""

    work: str
    why: str

    holds = None

    def cells(self) -> tuple[str, ...]:
        return (self.work, "not measured", self.why[:60], "–", "–", "–")


def middle(value: Times | float) -> float:
    return value.median if isinstance(value, Times) else value


def amount(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.0f} {unit}" if value >= 20 else f"{value:.1f} {unit}"
    if value < 0.95:
        return f"{value * 1000:.{0 if value >= 0.1 else 1}f} ms".replace(".0 ms", " ms")
    return f"{value:.2f} s" if value < 60 else f"{value:.0f} s"


def figure(value: Times | float, unit: str) -> str:
    """The median, and the extremes where they differ much."""
    text = amount(middle(value), unit)
    if isinstance(value, Times) and len(value.all) > 1:
        low, high = min(value.all), max(value.all)
        if high - low > 0.1 * value.median:
            text += f" ({amount(low, unit)} … {amount(high, unit)})"
    return text


def as_text(rows: list[Row | Missing]) -> str:
    lines = [HEAD, *(tuple(cell.replace("**", "") for cell in row.cells()) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    out = []
    for number, line in enumerate(lines):
        out.append("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            out.append("  ".join("-" * width for width in widths))
    return "\n".join(out)


def as_markdown(rows: list[Row | Missing]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |"
                     for line in lines)


def output(command: list[str]) -> str:
    """What a program prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine(scratch: Path) -> str:
    """What the figures depend on besides the programs. Nothing that names the machine."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    system = "unknown system"
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            system = line.split("=", 1)[1].strip('"')
    files = output(["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(scratch)])
    cores = len(os.sched_getaffinity(0))
    return (f"{cores} cores of {cpu}, {memory:.0f} GiB, {files or 'unknown'} file system, "
            f"{system}, Linux {platform.release()}")


def commit(root: Path) -> str:
    """The commit that was measured."""
    head = output(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"])
    changed = output(["git", "-C", str(root), "status", "--porcelain", "--", "crates",
                          "Cargo.lock", "Cargo.toml", "bench", "examples"])
    return f"{head or 'unknown'}{', with changes' if changed else ''}"


def peers() -> str:
    asked = (["make", "--version"], ["ninja", "--version"], ["ostree", "--version"],
             ["casync", "--version"], ["tar", "--version"], ["zstd", "--version"],
             ["cp", "--version"], ["bwrap", "--version"], ["gzip", "--version"],
             ["curl", "--version"], ["skopeo", "--version"], ["docker-registry", "--version"],
             ["ccache", "--version"], ["gcc", "--version"])
    said: list[str] = []
    for command in asked:
        text = output(command)
        # casync counts in whole numbers.
        version = re.search(r"\d+(\.\d+)+", text) or re.search(r"\d+", text)
        if version:
            said.append(f"{command[0]} {version[0]}")
    return ", ".join(said)


def write(path: Path, rows: list[Row | Missing], root: Path, scratch: Path, command: str,
          notes: list[str]) -> None:
    """Puts the table between the marks of the file, and keeps what is around them."""
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    facts = [f"- machine: {machine(scratch)}", f"- date: {today}", f"- commit: {commit(root)}",
             f"- command: `{command}`", f"- peers: {peers()}", *(f"- {note}" for note in notes)]
    table = "\n".join([BEGIN, "", *facts, "", as_markdown(rows), "", END])
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise Failed(f"{path} does not have the two marks, each once")
    before, rest = text.split(BEGIN)
    path.write_text(before + table + rest.split(END)[1])
