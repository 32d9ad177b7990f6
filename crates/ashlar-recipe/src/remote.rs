//! Remotes as the rest of Ashlar sees them, and what the environment and the command line change
//! of them.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::{Problem, Problems, enumerate, nearest};
use crate::resolve::remote_address;

/// For how long nothing may come or go before a transfer counts as stalled, where nothing is said.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A place that others share, where results are found and left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What the project calls it.
    pub name: String,
    /// Its address, without credentials: `dir:PATH`, `http://…`, `https://…`, `s3://…`, `oci://…`,
    /// `reapi://…` or `reapis://…`. A path that is not absolute is relative to the project.
    pub url: String,
    /// Whether results are looked for there.
    pub read: bool,
    /// Which results are left there.
    pub write: Write,
    /// On which branches results are left there, as patterns in which `*` stands for any characters.
    /// Empty: on all, and where there is no branch.
    pub write_branches: Vec<String>,
    /// How results lie behind an HTTP server.
    pub layout: Layout,
    /// The address of an S3 service, when it is not the one that the region names.
    pub endpoint: Option<String>,
    /// The region of a bucket.
    pub region: Option<String>,
    /// Whether plain HTTP is allowed to hosts that are not loopback.
    pub insecure: bool,
    /// Certificates to trust besides those of the machine.
    pub ca: Option<PathBuf>,
    /// A client certificate, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where a bearer token comes from.
    pub token: Option<Token>,
    /// Public keys: a result that none of them signed is a miss. Empty: anything is taken.
    pub require_signature: Vec<PathBuf>,
    /// A private key to sign what is pushed with.
    pub sign: Option<PathBuf>,
    /// For how long nothing may come or go.
    pub timeout: Duration,
}

/// Which results are left at a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Write {
    /// None.
    #[default]
    No,
    /// Those whose files of the project are all committed, and everything beneath as well.
    Clean,
    /// All.
    Yes,
}

/// How results lie behind an HTTP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The OCI image layout.
    #[default]
    Oci,
    /// `/ac/` and `/cas/`, as bazel-remote and ccache use them.
    Bazel,
}

/// Where a bearer token comes from. It never stands in a project file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A variable of the environment.
    Env(String),
    /// A file.
    File(PathBuf),
}

impl Remote {
    /// A remote about which nothing but its address is said. It is read.
    #[must_use]
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            read: true,
            write: Write::No,
            write_branches: Vec::new(),
            layout: Layout::Oci,
            endpoint: None,
            region: None,
            insecure: false,
            ca: None,
            certificate: None,
            token: None,
            require_signature: Vec::new(),
            sign: None,
            timeout: TIMEOUT,
        }
    }

    /// Whether what is done on a branch may be left there, as far as that decides; `None` is no
    /// branch, or one that is not known.
    #[must_use]
    pub fn is_written_on(&self, branch: Option<&str>) -> bool {
        let named = |branch: &str| self.write_branches.iter().any(|one| is_like(one, branch));
        self.write_branches.is_empty() || branch.is_some_and(named)
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any characters.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    // Each part at the first place where it is, which leaves most for those after it.
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// The variable that changes the rights of a remote: `ASHLAR_REMOTE_TEAM` for `team`.
#[must_use]
pub fn remote_variable(name: &str) -> String {
    let plain = |c: char| if c == '-' { '_' } else { c.to_ascii_uppercase() };
    name.chars().fold(PREFIX.to_owned(), |mut variable, c| {
        variable.push(plain(c));
        variable
    })
}

const PREFIX: &str = "ASHLAR_REMOTE_";

/// Applies what the environment says, then what `--remote` says, each in order. A value is `read`,
/// `write`, `readwrite` or `off`; after `--remote NAME=` it may be an address as well: of a remote
/// that the project does not have, which comes last and is read and written, or in place of the
/// one that the project gives. A remote of which only clean results are written stays so.
///
/// # Errors
/// When a name or a value makes no sense. A variable that no remote has is an error too: a typing
/// mistake must not let a build write where it should only read.
pub fn override_remotes(
    mut remotes: Vec<Remote>,
    variables: impl IntoIterator<Item = (String, String)>,
    given: &[String],
) -> Result<Vec<Remote>, Problems> {
    overridden(&mut remotes, variables, given)
        .map_err(|problem| Problems::gather(vec![*problem], 0))?;
    Ok(remotes)
}

fn overridden(
    remotes: &mut Vec<Remote>,
    variables: impl IntoIterator<Item = (String, String)>,
    given: &[String],
) -> Result<(), Box<Problem>> {
    let mut variables: Vec<_> =
        variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    // `--remote NAME=ADDRESS` makes a remote that a variable may be meant for.
    let mut rest = Vec::with_capacity(given.len());
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            let help = "--remote NAME=read, write, readwrite or off, or --remote NAME=ADDRESS";
            return Err(Problem::new("a `--remote` says nothing of a remote").help(help).into());
        };
        if value.contains(':') {
            address(remotes, name, value)?;
        } else {
            rest.push((name, value));
        }
    }
    for (variable, value) in &variables {
        let names: Vec<String> = remotes.iter().map(|r| remote_variable(&r.name)).collect();
        match remotes.iter_mut().find(|r| remote_variable(&r.name) == *variable) {
            Some(remote) => apply(remote, variable, value)?,
            None => return Err(unknown(variable, names.iter().map(String::as_str)).into()),
        }
    }
    for (name, value) in rest {
        let flag = format!("--remote {}", name.escape_debug());
        let names: Vec<String> = remotes.iter().map(|r| r.name.clone()).collect();
        match remotes.iter_mut().find(|remote| remote.name == name) {
            Some(remote) => apply(remote, &flag, value)?,
            None => {
                let problem = unknown(name, names.iter().map(String::as_str));
                let message = format!("{flag}: {}", problem.message);
                return Err(Problem { message, ..problem }.into());
            }
        }
    }
    Ok(())
}

fn apply(remote: &mut Remote, what: &str, value: &str) -> Result<(), Box<Problem>> {
    let (read, write) = match value {
        "read" => (true, false),
        "write" => (false, true),
        "readwrite" => (true, true),
        "off" => (false, false),
        _ => {
            // What stands there may be a secret that was put into the wrong variable.
            return Err(Problem::new(format!("{what} has a value that means nothing"))
                .help("values are `read`, `write`, `readwrite` and `off`")
                .into());
        }
    };
    remote.read = read;
    remote.write = match (write, remote.write) {
        (false, _) => Write::No,
        (true, Write::Clean) => Write::Clean,
        (true, Write::No | Write::Yes) => Write::Yes,
    };
    Ok(())
}

fn address(remotes: &mut Vec<Remote>, name: &str, url: &str) -> Result<(), Box<Problem>> {
    let flag = format!("--remote {}=ADDRESS", name.escape_debug());
    if let Err(wrong) = remote_name(name) {
        return Err(Problem::new(format!("{flag}: `{}` {wrong}", name.escape_debug()))
            .help("letters, digits, `-` and `_`")
            .into());
    }
    if let Err((wrong, help)) = remote_address(url) {
        return Err(Problem::new(format!("{flag}: the address {wrong}")).help(help).into());
    }
    match remotes.iter_mut().find(|remote| remote.name == name) {
        Some(remote) => url.clone_into(&mut remote.url),
        None => remotes.push(Remote { write: Write::Yes, ..Remote::new(name, url) }),
    }
    Ok(())
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
    let help = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.clone().next().is_none() => "the project has no remotes".to_owned(),
        None => format!("there are {}", enumerate(known)),
    };
    Problem::new(format!("`{}` stands for no remote", name.escape_debug())).help(help)
}

/// Whether a text can be the name of a remote.
pub(crate) fn remote_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("is empty")
    } else if name.len() > 50 {
        Err("has more than 50 characters")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        Err("is not the name of a remote")
    } else if name == "local" {
        Err("is what the store of this machine is called")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(
        write: Write,
        variables: &[(&str, &str)],
        given: &[&str],
    ) -> Result<Vec<(String, bool, Write)>, String> {
        let team = Remote { write, ..Remote::new("team-a", "dir:/srv") };
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let given: Vec<String> = given.iter().map(|g| (*g).to_owned()).collect();
        override_remotes(vec![team], variables, &given)
            .map(|all| all.into_iter().map(|r| (r.name, r.read, r.write)).collect())
            .map_err(|problems| problems.list.into_iter().next().unwrap())
            .map_err(|problem| format!("{}: {}", problem.message, problem.help.unwrap_or_default()))
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let variables = [("ASHLAR_REMOTE_TEAM_A", "off"), ("HOME", "/x")];
        let team = |read, write| Ok(vec![("team-a".to_owned(), read, write)]);
        assert_eq!(changed(Write::Yes, &[], &[]), team(true, Write::Yes));
        assert_eq!(changed(Write::Yes, &variables, &[]), team(false, Write::No));
        assert_eq!(changed(Write::No, &variables, &["team-a=write"]), team(false, Write::Yes));
        assert_eq!(changed(Write::Clean, &[], &["team-a=readwrite"]), team(true, Write::Clean));
        assert_eq!(
            changed(Write::Clean, &[], &["team-a=off", "team-a=read"]),
            team(true, Write::No)
        );
    }

    #[test]
    fn branches_are_named_by_patterns() {
        let writes = |patterns: &[&str], branch| {
            let write_branches = patterns.iter().map(|one| (*one).to_owned()).collect();
            Remote { write_branches, ..Remote::new("a", "dir:/a") }.is_written_on(branch)
        };
        assert!(writes(&[], Some("main")) && writes(&[], None));
        assert!(writes(&["main", "release/*"], Some("main")));
        assert!(writes(&["main", "release/*"], Some("release/1/2")));
        for other in ["main2", "xmain", "release", "Main", "pr-7", ""] {
            assert!(!writes(&["main", "release/*"], Some(other)), "{other}");
        }
        assert!(!writes(&["*"], None), "no branch is none of them");
        assert!(writes(&["*"], Some("x")) && writes(&["a*b*c"], Some("a-b-bc")));
        assert!(!writes(&["a*b*c"], Some("a-c-b")) && !writes(&["a*a"], Some("a")));
    }

    #[test]
    fn a_remote_may_be_given_wholly() {
        let all = changed(Write::No, &[("ASHLAR_REMOTE_MINE", "read")], &["mine=dir:/tmp/x"]);
        let expected =
            [("team-a".to_owned(), true, Write::No), ("mine".to_owned(), true, Write::No)];
        assert_eq!(all.unwrap(), expected);
    }

    #[test]
    fn mistakes_are_said_and_secrets_are_not() {
        let said = |variables: &[(&str, &str)], given: &[&str]| {
            changed(Write::No, variables, given).unwrap_err()
        };
        assert_eq!(
            said(&[("ASHLAR_REMOTE_TAEM_A", "read")], &[]),
            "`ASHLAR_REMOTE_TAEM_A` stands for no remote: did you mean `ASHLAR_REMOTE_TEAM_A`?"
        );
        assert_eq!(
            said(&[], &["other=read"]),
            "--remote other: `other` stands for no remote: there are `team-a`"
        );
        let secret = said(&[("ASHLAR_REMOTE_TEAM_A", "hunter2")], &[]);
        assert_eq!(
            secret,
            "ASHLAR_REMOTE_TEAM_A has a value that means nothing: values are `read`, `write`, \
             `readwrite` and `off`"
        );
        for given in ["x=https://me:hunter2@host/", "hunter2", "x=https://host/?key=hunter2"] {
            let text = said(&[], &[given]);
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(said(&[], &["local=dir:/x"]).contains("is what the store of this machine"));
    }
}
