//! What `ADD` gets from elsewhere.

use ashlar_dockerfile::{Copy, CopySource};

/// Something that `ADD` gets from elsewhere. What it is, is known before it is got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Download {
    /// A file.
    File {
        /// From where.
        url: String,
        /// Its SHA-256, in hexadecimal digits.
        sha256: String,
    },
    /// Files of a git repository.
    Git {
        /// Where it is.
        repository: String,
        /// The commit, in full.
        commit: String,
        /// The folder of it; empty for all of it.
        folder: String,
    },
}

impl Download {
    /// What a source of a copy gets, if it gets something; an error says what is missing in it.
    ///
    /// # Errors
    /// When what it gets could be another thing tomorrow.
    pub fn of(copy: &Copy, source: &CopySource) -> Result<Option<Self>, &'static str> {
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match source {
            CopySource::Path(_) | CopySource::Heredoc { .. } => Ok(None),
            CopySource::Url { url } => {
                let sum = copy.checksum.as_deref().and_then(|sum| sum.strip_prefix("sha256:"));
                match sum.filter(|sum| hex(sum, 64)) {
                    Some(_) if copy.sources.len() > 1 => {
                        Err("one --checksum is for one file: give each an ADD of its own")
                    }
                    Some(sum) => {
                        Ok(Some(Self::File { url: url.clone(), sha256: sum.to_lowercase() }))
                    }
                    None => Err("write --checksum=sha256:…, so that it is the same file tomorrow"),
                }
            }
            CopySource::Git { repository, reference, folder } => {
                if copy.keep_git_dir {
                    return Err("--keep-git-dir is not supported: what git keeps there differs \
                                from clone to clone");
                }
                let commit = reference.as_deref().or(copy.checksum.as_deref());
                match commit.filter(|commit| hex(commit, 40) || hex(commit, 64)) {
                    Some(commit) => Ok(Some(Self::Git {
                        repository: repository.clone(),
                        commit: commit.to_lowercase(),
                        folder: folder.clone().unwrap_or_default(),
                    })),
                    None => Err("name the whole commit: #COMMIT; a branch or tag is another one \
                                 tomorrow"),
                }
            }
        }
    }
}
