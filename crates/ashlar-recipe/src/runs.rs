//! What a person says of commands that are kept: `ashlar-run.toml`, and what a trace has learned.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The file in which a project keeps the declarations of its runs.
pub const RUNS_FILE: &str = "ashlar-run.toml";
/// The file that `--trace=learn` writes: the same tables, with what was found.
pub const LEARNED_FILE: &str = "ashlar-run.learned.toml";

/// A file of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// What holds for every run.
    pub defaults: Declaration,
    /// For patterns of the names of runs, what may be done with the cache: `off`, `read`, `write`,
    /// `readwrite`.
    pub cache: BTreeMap<String, String>,
    /// The runs by their names.
    pub runs: BTreeMap<String, Declaration>,
}

/// Everything that can change what a command makes, and what that is. Paths are below the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The folder it runs in; the root when not said.
    pub directory: Option<String>,
    /// Globs of files it reads; each matches something.
    pub input: Vec<String>,
    /// Globs of files it looks for, which may not be there.
    pub maybe: Vec<String>,
    /// It reads no file of the project.
    pub no_inputs: bool,
    /// Globs of files that many runs share, and that one switch leaves out of all keys.
    pub common: Vec<String>,
    /// Variables whose values count.
    pub env: Vec<String>,
    /// Variables of which only a fingerprint is kept.
    pub secret: Vec<String>,
    /// `NAME=VALUE`, or only a name.
    pub flag: Vec<String>,
    /// Programs by their content.
    pub tool: Vec<String>,
    /// Programs by what they answer to `--version`.
    pub tool_version: Vec<String>,
    /// Files that other runs may have made.
    pub uses: Vec<String>,
    /// Checkouts and submodules.
    pub git: Vec<String>,
    /// Globs of what it makes; each matches something.
    pub output: Vec<String>,
}

impl Declaration {
    /// Adds what another says of the same run: lists are joined, single values replaced.
    pub fn add(&mut self, other: Self) {
        let Self { command, directory, no_inputs, .. } = &other;
        if !command.is_empty() {
            self.command.clone_from(command);
        }
        if directory.is_some() {
            self.directory.clone_from(directory);
        }
        self.no_inputs |= no_inputs;
        let lists = [
            (&mut self.input, other.input),
            (&mut self.maybe, other.maybe),
            (&mut self.common, other.common),
            (&mut self.env, other.env),
            (&mut self.secret, other.secret),
            (&mut self.flag, other.flag),
            (&mut self.tool, other.tool),
            (&mut self.tool_version, other.tool_version),
            (&mut self.uses, other.uses),
            (&mut self.git, other.git),
            (&mut self.output, other.output),
        ];
        for (mine, others) in lists {
            for one in others {
                if !mine.contains(&one) {
                    mine.push(one);
                }
            }
        }
    }
}

impl Runs {
    /// The text of a file of learned inputs.
    #[must_use]
    pub fn learned_text(&self) -> String {
        let mut text = String::from(
            "# Written by `ashlar run --trace=learn`: what commands were seen to read. Commit it.\n",
        );
        for (name, run) in &self.runs {
            // Writing into a text does not fail.
            let _ = writeln!(text, "\n[run.{}]", quoted(name));
            for (key, list) in [("input", &run.input), ("maybe", &run.maybe)] {
                if !list.is_empty() {
                    let _ = writeln!(text, "{key} = [");
                    for one in list {
                        let _ = writeln!(text, "    {},", quoted(one));
                    }
                    text.push_str("]\n");
                }
            }
        }
        text
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            c if c.is_control() => {
                // Writing into a text does not fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_runs;

    #[test]
    fn what_was_learned_reads_back() {
        let one = Declaration {
            input: vec!["src/a \"b\"\\c\n\u{7f}".to_owned()],
            maybe: vec!["x".to_owned()],
            ..Declaration::default()
        };
        let runs = Runs { runs: [("tar\"get".to_owned(), one)].into(), ..Runs::default() };
        let text = runs.learned_text();
        assert_eq!(parse_runs(LEARNED_FILE, text.as_bytes()).unwrap(), runs, "{text}");
    }

    #[test]
    fn a_command_may_be_a_text_and_mistakes_are_said() {
        let text = "[run.a]\ncommand = 'make x'\noutput = [\"x\"]\n";
        let runs = parse_runs(RUNS_FILE, text.as_bytes()).unwrap();
        assert_eq!(runs.runs["a"].command, ["sh", "-c", "make x"]);
        let wrong = parse_runs(RUNS_FILE, b"[run.a]\ninputs = []\n").unwrap_err();
        assert!(wrong.to_string().contains("did you mean `input`?"), "{wrong}");
        for (glob, why) in
            [("src/[a", "has a `[`"), ("!a{b", "{"), ("../x", "leads outside"), ("", "is empty")]
        {
            let text = format!("[run.a]\ncommand = 'x'\ninput = [\n  'in',\n  '{glob}',\n]\n");
            let wrong = parse_runs(RUNS_FILE, text.as_bytes()).unwrap_err().render_plain();
            assert!(wrong.contains("ashlar-run.toml:5:3") && wrong.contains(why), "{wrong}");
        }
        for good in ["/usr/include/stdio.h", "!old/**", "a/", "a[!b]{c,d}?*"] {
            parse_runs(RUNS_FILE, format!("[run.a]\ninput = ['{good}']\n").as_bytes()).unwrap();
        }
        let wrong = parse_runs(RUNS_FILE, b"[cache]\n\"x/*\" = \"reed\"\n").unwrap_err();
        assert!(wrong.to_string().contains("off, read, write or readwrite"), "{wrong}");
    }

    #[test]
    fn declarations_are_added() {
        let mut one = Declaration { env: vec!["A".to_owned()], ..Declaration::default() };
        one.add(Declaration {
            env: vec!["A".to_owned(), "B".to_owned()],
            command: vec!["true".to_owned()],
            ..Declaration::default()
        });
        assert_eq!((one.env.join(" "), one.command.len()), ("A B".to_owned(), 1));
    }
}
