//! What differs: what is meant to, and what is not done yet; each with its reason.

/// A difference that is meant.
pub struct Known {
    /// The case.
    pub case: &'static str,
    /// The paths or fields of the configuration that differ; `refused` when Ashlar does not build it.
    pub places: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// All of them. Times differ everywhere and are not compared: Ashlar's files have one moment, so
/// that what is built twice is the same image.
pub const KNOWN: &[Known] = &[
    Known {
        case: "links-hard-changed",
        places: &["a", "b"],
        reason: "buildah makes one layer of all instructions here; where each has its own, a file that \
                 is written to in a later one is copied, and its other names keep the old content, \
                 as with every overlay",
    },
    Known {
        case: "links-hard-symbolic",
        places: &["a", "b"],
        reason: "a symbolic link with two names is kept as two links that say the same: nothing can \
                 be written through either of them",
    },
    Known {
        case: "syntax-escape",
        places: &["Env"],
        reason: "`\\` is an ordinary character when another one escapes, as the reference says; \
                 buildah takes it away",
    },
    Known {
        case: "volume",
        places: &["three", "four"],
        reason: "a volume is a word about running: it makes no folder; buildah makes some",
    },
    Known {
        case: "volume-changes",
        places: &["data/after"],
        reason: "what is written into a volume stays, as with BuildKit; buildah drops it",
    },
    Known {
        case: "mount-bind-stage",
        places: &["other"],
        reason: "folders that were made only to mount something are all gone afterwards; buildah \
                 leaves those above",
    },
    Known {
        case: "mount-secret",
        places: &["run/secrets"],
        reason: "the same for the folder of secrets",
    },
    Known {
        case: "run-capabilities",
        places: &["caps"],
        reason: "a command has the capabilities that Docker gives, three more than buildah's",
    },
    Known {
        case: "shell",
        places: &["Cmd", "Entrypoint"],
        reason: "CMD and ENTRYPOINT in shell form use what SHELL said, as the reference says; buildah \
                 uses /bin/sh",
    },
    Known {
        case: "base-configuration",
        places: &["data"],
        reason: "the volume of the base: a volume makes no folder",
    },
    Known {
        case: "base-overridden",
        places: &["data", "more"],
        reason: "a volume makes no folder",
    },
    Known {
        case: "scratch-archive",
        places: &["WorkingDir"],
        reason: "BuildKit says `/` as well where nothing else was said",
    },
    Known {
        case: "stages-scratch",
        places: &["WorkingDir"],
        reason: "BuildKit says `/` as well where nothing else was said",
    },
    Known {
        case: "xattr-context",
        places: &["f", "x/f"],
        reason: "attributes of the context's files are those of one checkout, as its owners are",
    },
];

/// What differs and should not: taken out as soon as it does not differ any more.
pub const OPEN: &[Known] = &[];

/// The path or field that a difference is about.
pub fn place(difference: &str) -> &str {
    difference.split(": buildah ").next().unwrap_or(difference)
}

/// Refuses differences that are not meant, and those that are and are not there.
pub fn check(case: &str, differences: &[String]) -> Result<(), String> {
    let known = || KNOWN.iter().chain(OPEN).filter(|known| known.case == case);
    let meant = |line: &str| known().any(|known| known.places.contains(&place(line)));
    let mut wrong: Vec<String> = differences
        .iter()
        .filter(|line| !meant(line))
        .map(|line| format!("\n    {line}"))
        .collect();
    for known in known() {
        for expected in known.places {
            if !differences.iter().any(|line| place(line) == *expected) {
                wrong.push(format!(
                    "\n    {expected} does not differ any more, take it out of known.rs: {}",
                    known.reason
                ));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.concat()) }
}
