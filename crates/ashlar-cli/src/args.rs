//! The command line, without any meaning.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub mod artifact;
pub mod cache;
pub mod image;
pub mod run;

use artifact::Artifact;
use cache::Cache;
use image::Image;
use run::Run;

/// Builds systems made of hundreds of parts, and never builds one of them twice.
#[derive(Debug, Parser)]
#[command(
    name = "ashlar",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ASHLAR_COMMIT"), ")"),
    propagate_version = true,
    after_help = "Examples:\n  \
        ashlar init                    a project that builds\n  \
        ashlar build                   build what `default` in ashlar.toml names\n  \
        ashlar plan all                what would happen, and how long it would take\n  \
        ashlar why net/lldpd           why it would be built: what changed since\n  \
        ashlar checkout zlib out/zlib  its files\n\n\
        Exit codes: 0 done; 1 a build failed; 2 usage or project files; 3 the machine lacks\n\
        something; 4 a store or remote failed; 5 stopped by a signal or out of time, everything\n\
        finished is kept."
)]
pub struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The folder of the project, or one below it.
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "DIR",
        default_value = ".",
        hide_default_value = true
    )]
    pub project: PathBuf,
    /// Where results are kept; $XDG_CACHE_HOME/ashlar when not said.
    #[arg(long, global = true, value_name = "DIR", env = "ASHLAR_STORE")]
    pub store: Option<PathBuf>,
    /// How many jobs run at once, over all modules; as many as there are cores when not said.
    #[arg(short, long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub jobs: Option<u16>,
    /// Fetch nothing, and contact no remote but folders.
    #[arg(long, global = true)]
    pub offline: bool,
    /// Sets an option of the project, once for each.
    #[arg(long = "option", short = 'o', global = true, value_name = "NAME=VALUE")]
    pub options: Vec<String>,
    /// Changes the rights of a remote (read, write, readwrite, off), or names one by its address,
    /// once for each. `ASHLAR_REMOTE_NAME` changes rights as well.
    #[arg(long = "remote", global = true, value_name = "NAME=RIGHTS|ADDRESS")]
    pub remotes: Vec<String>,
    /// One JSON object a line on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Whether to use colours; `NO_COLOR` turns them off too.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub color: Color,
    /// Say more: every hit, and the output of builds as it comes.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a project here: a commented ashlar.toml and one module that builds.
    #[command(after_help = "Example:\n  ashlar -C firmware init")]
    Init(Init),
    /// Build targets, or find that they are built.
    #[command(
        after_help = "Examples:\n  ashlar build\n  ashlar build zlib net/lldpd --keep-going\n  ashlar build -o debug=true popt\n  ashlar build --remote team=read --require-remote\n  ashlar build --rebuild --remote team=write --require-push"
    )]
    Build(Build),
    /// Run a command, or find that its outputs are kept: one line of a makefile.
    #[command(
        after_help = "Examples:\n  ashlar run -i 'src/libfoo/**' --tool gcc --flag platform=vs -O target/libfoo.deb -- make -C src/libfoo\n  ashlar run -i src/app --uses target/libfoo.deb -O 'target/app*.deb' -- make -C src/app\n  ashlar run --batch ashlar-run.toml\n\nThe exit code is that of the command."
    )]
    Run(Box<Run>),
    /// Say what would happen and why, without fetching or building anything.
    #[command(after_help = "Example:\n  ashlar plan all")]
    Plan(Targets),
    /// Say why a module would be, or last was, built: what changed since the nearest earlier
    /// build, down to the file, flag, tool, patch or dependency.
    #[command(
        after_help = "Examples:\n  ashlar why net/lldpd\n  ashlar why --run target/debs/libfoo_1.0.deb"
    )]
    Why(Why),
    /// Figures of the commands that `ashlar run` keeps here: hits, misses, time saved.
    #[command(
        after_help = "Examples:\n  ashlar stat\n  ashlar stat --run target/debs/libfoo_1.0.deb"
    )]
    Stat {
        /// One of them, by its name.
        #[arg(long, value_name = "NAME")]
        run: Option<String>,
        /// Their root, where that was said with --root.
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// Print the log of the last build of a module, whether it succeeded or failed.
    Log(Log),
    /// Show what is known of a module: key, inputs, outputs, durations.
    Show(Show),
    /// Print the graph of modules in Graphviz' language.
    #[command(after_help = "Example:\n  ashlar graph all | dot -Tsvg > graph.svg")]
    Graph(Targets),
    /// List the modules.
    List,
    /// Put the outputs of a module somewhere as plain files, whole or not at all.
    #[command(after_help = "Example:\n  ashlar checkout zlib out/zlib")]
    Checkout(Checkout),
    /// Open a shell in the sandbox of a module, as its build sees it.
    #[command(
        after_help = "Examples:\n  ashlar shell zlib\n  ashlar shell zlib -- sh -c 'ls $SRCDIR'"
    )]
    Shell(Shell),
    /// Build a module again in a fresh sandbox and compare the bytes with what is kept.
    Check(Module),
    /// Resolve names of sources and bases to digests in ashlar.lock.
    #[command(
        after_help = "Examples:\n  ashlar lock                   what is missing\n  ashlar lock --update          everything anew\n  ashlar lock --update zlib     one module's sources and tools"
    )]
    Lock(Lock),
    /// Leave results at the remotes that are written to: targets, and what they were made from.
    #[command(
        after_help = "Examples:\n  ashlar push\n  ashlar push zlib --to team\n  ashlar push --remote usb=dir:/media/usb/ashlar"
    )]
    Push(Push),
    /// Bring results from remotes without building anything.
    #[command(after_help = "Examples:\n  ashlar pull\n  ashlar pull zlib --deps --from team")]
    Pull(Pull),
    /// Look after remotes.
    #[command(subcommand)]
    Remote(Remote),
    /// Hand trees from one task of a pipeline to others.
    #[command(subcommand)]
    Artifact(Box<Artifact>),
    /// Keep folders of a workspace between jobs, in layers with keys of their own.
    #[command(subcommand)]
    Cache(Box<Cache>),
    /// Build images from Dockerfiles; every instruction that finished is kept.
    #[command(subcommand)]
    Image(Box<Image>),
    /// Look after the store.
    #[command(subcommand)]
    Store(Store),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  ashlar completions bash > /etc/bash_completion.d/ashlar")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of ashlar, or write those of all commands to a folder.
    Man {
        /// Where to write a page for every command.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Print the JSON Schema of a file format, for editors.
    #[command(after_help = "Example:\n  ashlar schema module > module.schema.json")]
    Schema {
        /// Which file.
        file: SchemaOf,
    },
}

/// `ashlar init`.
#[derive(Debug, ClapArgs)]
pub struct Init {
    /// The name of the project; the folder's when not said.
    #[arg(long)]
    pub name: Option<String>,
    /// The Debian suite of the base; this machine's when not said.
    #[arg(long)]
    pub suite: Option<String>,
}

/// `ashlar build`.
#[derive(Debug, ClapArgs)]
pub struct Build {
    /// Modules to build; the project's `default` when none is named.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Go on with what does not depend on a module that failed.
    #[arg(short, long)]
    pub keep_going: bool,
    /// Build the named targets although they are found; what they need is still found.
    #[arg(long)]
    pub rebuild: bool,
    /// Fail instead of completing ashlar.lock.
    #[arg(long)]
    pub locked: bool,
    /// Fail when a result could not be left at a remote that is written to.
    #[arg(long)]
    pub require_push: bool,
    /// Fail when a remote cannot be read, instead of building what may be there.
    #[arg(long)]
    pub require_remote: bool,
}

/// `ashlar push`.
#[derive(Debug, ClapArgs)]
pub struct Push {
    /// Modules to push with everything they were made from; the project's `default` when none is
    /// named.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Only to this remote, once for each; to all that are written to when not said.
    #[arg(long, value_name = "NAME")]
    pub to: Vec<String>,
}

/// `ashlar pull`.
#[derive(Debug, ClapArgs)]
pub struct Pull {
    /// Modules to pull; the project's `default` when none is named.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Also everything beneath them: dependencies, bases, tools.
    #[arg(long)]
    pub deps: bool,
    /// Only from this remote, once for each; from all that are read when not said.
    #[arg(long, value_name = "NAME")]
    pub from: Vec<String>,
}

/// `ashlar remote`.
#[derive(Debug, Subcommand)]
pub enum Remote {
    /// List the remotes in the order in which they are asked, with their rights.
    List,
    /// Contact remotes: whether they answer, and whether they let themselves be written to.
    #[command(
        after_help = "Examples:\n  ashlar remote test          all of them\n  ashlar remote test team"
    )]
    Test {
        /// Which; all when none is named.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Figures: how much a remote holds.
    Stat {
        /// Which.
        name: String,
    },
    /// Remove what is oldest from a remote: what was used least recently, of a registry what was made
    /// longest ago.
    #[command(after_help = "Example:\n  ashlar remote gc team --max-size 200G --max-age 90d")]
    Gc {
        /// Which.
        name: String,
        /// What the remote may hold: bytes, or with K, M, G, T.
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_size: Option<u64>,
        /// Since a result was last used, in a registry made: seconds, or with s, m, h, d.
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        max_age: Option<std::time::Duration>,
    },
}

/// Commands over some targets.
#[derive(Debug, ClapArgs)]
pub struct Targets {
    /// Modules; the project's `default` when none is named.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

/// Commands over one module.
#[derive(Debug, ClapArgs)]
pub struct Module {
    /// The module.
    pub module: String,
}

/// `ashlar why`.
#[derive(Debug, ClapArgs)]
pub struct Why {
    /// The module.
    #[arg(required_unless_present = "run", conflicts_with = "run")]
    pub module: Option<String>,
    /// A command that `ashlar run` keeps, by its name.
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// With --run: its root, where that was said with --root.
    #[arg(long, value_name = "DIR", requires = "run")]
    pub root: Option<PathBuf>,
}

/// `ashlar log`.
#[derive(Debug, ClapArgs)]
pub struct Log {
    /// The module, or `base:NAME`.
    #[arg(required_unless_present = "run", conflicts_with = "run")]
    pub module: Option<String>,
    /// A command that `ashlar run` keeps, by its name.
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// With --run: its root, where that was said with --root.
    #[arg(long, value_name = "DIR", requires = "run")]
    pub root: Option<PathBuf>,
    /// Which of its steps: `build`, `source`, `packages`; for a base `base`, `tools …`; for an image
    /// `STAGE: INSTRUCTION`.
    #[arg(long, default_value = "build")]
    pub step: String,
    /// List the builds that are known instead.
    #[arg(long)]
    pub history: bool,
}

/// `ashlar show`.
#[derive(Debug, ClapArgs)]
pub struct Show {
    /// The module.
    pub module: String,
    /// List every file of the outputs.
    #[arg(long)]
    pub files: bool,
    /// Print how the result came to be: the in-toto statement that was left at a remote.
    #[arg(long, conflicts_with = "files")]
    pub provenance: bool,
}

/// `ashlar checkout`.
#[derive(Debug, ClapArgs)]
pub struct Checkout {
    /// The module.
    pub module: String,
    /// Where to: a folder that is empty or does not exist.
    pub dest: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    pub force: bool,
    /// Hard links to the files of the store: quick, and not to be edited.
    #[arg(long)]
    pub link: bool,
}

/// `ashlar shell`.
#[derive(Debug, ClapArgs)]
pub struct Shell {
    /// The module.
    pub module: String,
    /// What to run instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `ashlar lock`.
#[derive(Debug, ClapArgs)]
pub struct Lock {
    /// Resolve anew: everything, or the sources and tools of the modules named.
    #[arg(long, value_name = "MODULE", num_args = 0..)]
    pub update: Option<Vec<String>>,
}

/// `ashlar store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Figures: size, hits, misses, seconds saved.
    Stat,
    /// Check every blob.
    Verify {
        /// Put what is damaged aside, so that it is built again.
        #[arg(long)]
        repair: bool,
    },
    /// Remove what was used least recently.
    #[command(after_help = "Example:\n  ashlar store gc --max-size 10G --max-age 30d")]
    Gc {
        /// What the store may hold: bytes, or with K, M, G, T.
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_size: Option<u64>,
        /// Since a result, or a `--mount=type=cache`, was last used: seconds, or with s, m, h, d.
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        max_age: Option<std::time::Duration>,
    },
}

/// The files that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SchemaOf {
    /// ashlar.toml
    Project,
    /// modules/*.toml
    Module,
    /// ashlar-cache.toml
    Cache,
    /// ashlar-run.toml
    Run,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (number, unit) = match text.chars().last() {
        Some(last) if last.is_ascii_alphabetic() => text.split_at(text.len() - 1),
        _ => (text, ""),
    };
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        other => return Err(format!("`{other}` is no unit: K, M, G or T")),
    };
    let number: u64 =
        number.parse().map_err(|_| "a size is a whole number with K, M, G or T".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is too large".to_owned())
}

fn parse_age(text: &str) -> Result<std::time::Duration, String> {
    let (number, factor) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1),
        Some('m') => (&text[..text.len() - 1], 60),
        Some('h') => (&text[..text.len() - 1], 3600),
        Some('d') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let number: u64 =
        number.parse().map_err(|_| "a time is a whole number with s, m, h or d".to_owned())?;
    number
        .checked_mul(factor)
        .map(std::time::Duration::from_secs)
        .ok_or_else(|| "that is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages() {
        assert_eq!(parse_size("10G"), Ok(10 << 30));
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("4KiB"), Ok(4096));
        assert!(
            parse_size("10X").is_err()
                && parse_size("").is_err()
                && parse_size("99999999999T").is_err()
        );
        assert_eq!(parse_age("30d"), Ok(std::time::Duration::from_secs(30 * 86_400)));
        assert!(parse_age("d").is_err() && parse_age("-1d").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }
}
