"""A cold build of examples/firmware, against a shell script that does the same steps."""

import json
import os
import shutil
import time
import tomllib
from pathlib import Path

from measure import Failed, run, say, seconds, settle
from overhead import skeleton
from report import Row

OWNER = 524_288  # root inside, as plain-step and Ashlar have it when root runs them
PHASES = ("configure", "compile", "install")
# Everything of the root that is neither mounted nor the step's own.
DUMP = ("tar -C / -cf \"$DESTDIR/root.tar\" --exclude=./build --exclude=./dev --exclude=./proc "
        "--exclude=./run --exclude=./sys --exclude=./tmp .")


class Firmware:
    """A copy of the example in the scratch folder, with modules of ours beside its own that hand
    out a root or a source as one archive. So both sides have the very same ones, by the program's
    ordinary commands, and the store has them before anything is measured."""

    def __init__(self, context):
        self.context = context
        self.folder = context.scratch / "firmware"
        shutil.copytree(context.root / "examples/firmware", self.folder)
        self.store = context.scratch / "firmware.store"
        self.unpacked = context.scratch / "unpacked"

    def command(self, *arguments) -> list:
        return [self.context.ashlar, "--store", self.store, "-C", self.folder,
                *map(str, arguments)]

    def module(self, name: str) -> dict:
        return tomllib.loads((self.folder / f"modules/{name}.toml").read_text())

    def archive(self, name: str, recipe: str) -> None:
        path = self.folder / f"modules/bench/{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(recipe)

    def add_root(self, name: str, base: str, tools: list[str]) -> str:
        self.archive(name, f'base = "{base}"\ntools = {json.dumps(tools)}\n'
                     f"[build]\nkind = \"script\"\nsteps = ['{DUMP}']\n")
        return f"bench/{name}"

    def add_source(self, name: str, of: dict) -> str:
        if not isinstance(of["source"], dict):
            raise Failed("the example has a module of several sources, which bench/ does not know")
        source = "".join(f"{key} = {json.dumps(value)}\n" for key, value in of["source"].items())
        script = 'tar -C "$SRCDIR" -cf "$DESTDIR/source.tar" .'
        self.archive(name, f'base = "{of["base"]}"\n[source]\n{source}'
                     f"[build]\nkind = \"script\"\nsteps = ['{script}']\n")
        return f"bench/{name}"

    def unpack(self, module: str, file: str, into: Path) -> Path:
        """A finished archive as a folder, with the owners that it has on disk for a sandbox."""
        out = self.unpacked / module.replace("/", "-")
        run(self.command("checkout", "--force", module, out))
        into.mkdir(parents=True)
        run(["tar", "-C", into, "--numeric-owner", "--same-owner", "-xpf", out / file])
        shift_owners(into)
        shutil.rmtree(out)
        return into


def shift_owners(folder: Path) -> None:
    for at, _, _ in os.walk(folder):
        for entry in [at, *(e.path for e in os.scandir(at) if not e.is_dir(follow_symlinks=False))]:
            meta = os.lstat(entry)
            if meta.st_uid < OWNER:  # a hard link is seen twice
                os.lchown(entry, meta.st_uid + OWNER, meta.st_gid + OWNER)
                if not os.path.islink(entry):
                    os.chmod(entry, meta.st_mode & 0o7777)


def debian_root(context) -> Path:
    """The base of the example as a folder."""
    firmware = context.firmware()
    say("the tree: the Debian base of examples/firmware")
    module = firmware.add_root("root-debian", "debian", [])
    run(firmware.command("build", module))
    return firmware.unpack(module, "root.tar", context.scratch / "debian-root")


def prepare(context, firmware: Firmware, target: str) -> tuple[Path, dict[str, dict]]:
    """The folder that plain-firmware builds in, and what is known of each module."""
    plain = context.scratch / "plain"
    names = expand(firmware, target)
    modules = {name: firmware.module(name) for name in names}
    archives, roots = [], {}
    for name, module in modules.items():
        tools = tuple(sorted(module.get("tools", [])))
        key = (module["base"], tools)
        if key not in roots:
            roots[key] = "-".join(("root", module["base"], *tools))
            archives.append(firmware.add_root(roots[key], module["base"], list(tools)))
        if "source" in module:
            archives.append(firmware.add_source(f"source-{flat(name)}", module))
    say("the cold build: fetching and unpacking what both sides stand on")
    run(firmware.command("build", *archives))
    for root in roots.values():
        firmware.unpack(f"bench/{root}", "root.tar", plain / "roots" / root)
    skeleton(plain / "skeleton")
    shift_owners(plain / "skeleton")
    for name, module in modules.items():
        if "source" in module:
            into = plain / "sources" / flat(name)
            firmware.unpack(f"bench/source-{flat(name)}", "source.tar", into)
        shown = json.loads(run(firmware.command("show", "--json", name)))
        inputs = {i["input"]: i["value"].get("text", "") for i in shown["inputs"]}
        step = plain / "steps" / flat(name)
        step.mkdir(parents=True)
        (step / "command").write_text(script(name, inputs))
        (step / "environment").write_text("".join(f"{pair}\n" for pair in environment(inputs)))
        depends = [flat(d) for d in module.get("depends", [])]
        (step / "depends").write_text("".join(f"{d}\n" for d in depends))
        root = roots[module["base"], tuple(sorted(module.get("tools", [])))]
        layers = [f"outputs/{flat(d)}" for d in beneath(modules, name)]
        (step / "layers").write_text(":".join([*layers, f"roots/{root}", "skeleton"]))
    return plain, modules


def flat(name: str) -> str:
    return name.replace("/", "--")


def expand(firmware: Firmware, target: str) -> list[str]:
    """Everything that a target needs, without groups."""
    seen, left = [], [target]
    while left:
        name = left.pop()
        module = firmware.module(name)
        left += module.get("depends", [])
        if module.get("build", {}).get("kind") != "group" and name not in seen:
            seen.append(name)
    return sorted(seen)


def beneath(modules: dict[str, dict], name: str) -> list[str]:
    """What a module depends on, directly or through others, the highest layer first."""
    found: list[str] = []
    left = list(modules[name].get("depends", []))
    while left:
        at = left.pop(0)
        if at not in found:
            found.append(at)
            left += modules[at].get("depends", [])
    return found


def script(name: str, inputs: dict[str, str]) -> str:
    """The commands of a module, each in a shell of its own, as Ashlar runs them."""
    scripts = {i.removeprefix("script "): text for i, text in inputs.items()
               if i.startswith("script ") and i != "script ashlar"}
    unknown = set(scripts) - set(PHASES)
    if unknown or not scripts:
        raise Failed(f"the phases of {name} are not known here: {sorted(scripts)}")
    return "\n".join(f"echo '==> {phase}'\n/bin/sh -eu -c {quoted(scripts[phase])}"
                     for phase in PHASES if phase in scripts)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def environment(inputs: dict[str, str]) -> list[str]:
    pairs = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/build/home", "TZ": "UTC", "LC_ALL": "C", "LANG": "C", "SRCDIR": "/build/src",
        "DESTDIR": "/build/dest", "ARCH": os.uname().machine, "SOURCE_DATE_EPOCH": "946684800",
    }
    for name, text in inputs.items():
        kind, _, of = name.partition(" ")
        if kind == "environment":
            pairs[of] = text
        elif kind == "option":
            pairs["OPTION_" + "".join(c.upper() if c.isalnum() else "_" for c in of)] = text
    if any("\n" in text for text in pairs.values()):
        raise Failed("a value in the environment has two lines, which bench/ does not know")
    return [f"{name}={text}" for name, text in pairs.items()]


def urgent_first(modules: dict[str, dict], took: dict[str, float]) -> list[str]:
    """The modules by the length of the chain that waits for them, from measured durations."""
    chain: dict[str, float] = {}

    def length(name: str) -> float:
        if name not in chain:
            above = [n for n, m in modules.items() if name in m.get("depends", [])]
            chain[name] = took[name] + max((length(n) for n in above), default=0.0)
        return chain[name]

    return sorted(modules, key=length, reverse=True)


def measure(context, target: str, ratio: float | None, one_by_one: bool) -> list[Row]:
    firmware = context.firmware()
    plain, modules = prepare(context, firmware, target)
    settle()
    say(f"the cold build: {len(modules)} modules by ashlar")
    jobs = 2
    begun = time.perf_counter()
    lines = run(firmware.command("--offline", "--json", "--jobs", jobs, "build", target))
    ours = time.perf_counter() - begun
    events = [json.loads(line) for line in lines.splitlines()]
    built = {e["module"]: e["seconds"] for e in events
             if e.get("event") == "step" and e["step"] == "build" and e["outcome"] == "built"}
    if set(built) != set(modules):
        raise Failed(f"not exactly the modules were built: {events[-1]}")
    others = [e for e in events if e.get("event") == "step" and e["step"] != "build"
              and e["outcome"] not in ("hit", "cutoff")]
    if others:
        raise Failed(f"the store lacked what was prepared: {others[0]}")
    order = urgent_first(modules, built)
    (plain / "order").write_text("".join(f"{flat(name)}\n" for name in order))
    rows = []
    for steps in (jobs, 1) if one_by_one else (jobs,):
        settle()
        say(f"the cold build: {len(modules)} modules by bench/plain-firmware, {steps} at a time")
        took = seconds([context.bench / "plain-firmware", plain, jobs, steps], plain)
        if steps == jobs:
            same_files(firmware, plain, order)
        context.forget(*(plain / name for name in ("outputs", "logs", "work", "finished")))
        peer = f"a shell script, {'one module' if steps == 1 else f'{steps} modules'} at a time"
        rows.append(Row(f"cold build of examples/firmware `{target}`, {len(modules)} modules", ours,
                        peer, took, at_most_ratio=ratio if steps == jobs else None))
    return rows


def same_files(firmware: Firmware, plain: Path, names: list[str]) -> None:
    """That both made the same files: or one of them left something out."""
    for name in names:
        step = name.replace("--", "/")
        shown = json.loads(run(firmware.command("show", "--json", "--files", step)))
        ours = {through_links(file["path"]) for file in shown["files"]}
        root = plain / "outputs" / flat(name)
        theirs = {os.path.relpath(os.path.join(at, file), root)
                  for at, _, files in os.walk(root) for file in files
                  if not os.path.islink(os.path.join(at, file))}
        if ours != theirs:
            raise Failed(f"{name}: only one of both made {sorted(ours ^ theirs)[:5]}")


def through_links(path: str) -> str:
    top = path.split("/", 1)[0]
    return f"usr/{path}" if top in ("bin", "sbin", "lib", "lib64") else path
