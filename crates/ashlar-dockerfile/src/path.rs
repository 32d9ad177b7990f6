//! Paths inside images and contexts: text with `/`, cleaned without looking at any disk.

/// A path without empty parts, `.` and `..`; what leads above the root is left out. Whether any did.
fn parts(path: &str) -> (Vec<&str>, bool) {
    let mut parts = Vec::new();
    let mut above = false;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => above |= parts.pop().is_none(),
            part => parts.push(part),
        }
    }
    (parts, above)
}

/// An absolute path: `path` itself, or below `folder`.
pub(crate) fn absolute(folder: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    format!("/{}", parts(&joined).0.join("/"))
}

/// A path relative to a root, clean; empty is the root itself. `None` when it leads out of it.
pub(crate) fn relative(path: &str) -> Option<String> {
    let (parts, above) = parts(path);
    (!above).then(|| parts.join("/"))
}

/// Whether a path is one of Windows: `C:\…`, or with `\` and no `/`.
pub(crate) fn is_windows(path: &str) -> bool {
    let mut chars = path.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && matches!(chars.next(), None | Some('\\' | '/'));
    drive || path.starts_with("\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths() {
        for (folder, path, expected) in [
            ("/", "a", "/a"),
            ("/w", "a/./b/../c/", "/w/a/c"),
            ("/w", "/x//y", "/x/y"),
            ("/w", "../..", "/"),
            ("/w", ".", "/w"),
            ("/", "", "/"),
        ] {
            assert_eq!(absolute(folder, path), expected, "{folder} {path}");
        }
        assert_eq!(relative("./a//b/"), Some("a/b".to_owned()));
        assert_eq!(relative("/"), Some(String::new()));
        assert_eq!(relative("a/../.."), None);
        assert!(is_windows("C:\\x") && is_windows("c:/x") && !is_windows("/c:/x"));
    }
}
