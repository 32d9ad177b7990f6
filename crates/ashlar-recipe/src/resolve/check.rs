//! Checks of single values. Each says in a few words what is wrong; the place is the caller's.

use std::time::Duration;

/// What is wrong with a value, as a fragment that follows the value: "`x` leads outside".
pub(super) type Wrong = &'static str;

/// A path below some folder, without `./`, doubled and trailing slashes; empty for the folder
/// itself.
pub(super) fn path(text: &str) -> Result<String, Wrong> {
    if text.starts_with('/') {
        return Err("is an absolute path");
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("leads outside with `..`"),
            _ if part.len() > 255 => return Err("has a component longer than 255 bytes"),
            _ => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(part);
            }
        }
    }
    Ok(path)
}

/// A path that must name something: not empty. The folder itself is `.`.
pub(super) fn some_path(text: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        return Err("is empty");
    }
    path(text).map(|path| if path.is_empty() { ".".to_owned() } else { path })
}

/// A glob of paths below some folder.
pub(super) fn glob(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.starts_with('/') {
        return Err("is an absolute path");
    }
    if text.split('/').any(|part| part == "..") {
        return Err("leads outside with `..`");
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    glob_syntax(text)
}

/// The special characters of a glob, whatever paths it is of.
pub(crate) fn glob_syntax(text: &str) -> Result<(), Wrong> {
    let mut braces = 0_u32;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return Err("ends in a backslash"),
            '[' => {
                if matches!(chars.peek(), Some('!' | '^')) {
                    chars.next();
                }
                // A `]` that comes first is a member of the class.
                let mut low = chars.next().ok_or("has a `[` without `]`")?;
                let mut last = None;
                loop {
                    let next = chars.next().ok_or("has a `[` without `]`")?;
                    if next == ']' {
                        break;
                    }
                    match (last, next) {
                        (Some('-'), high) if low > high => {
                            return Err("has a range in `[…]` that runs backwards");
                        }
                        (_, '-') => {}
                        (_, single) => low = single,
                    }
                    last = Some(next);
                }
            }
            '{' => braces += 1,
            '}' => braces = braces.checked_sub(1).ok_or("has a `}` without `{`")?,
            _ => {}
        }
    }
    if braces > 0 { Err("has a `{` without `}`") } else { Ok(()) }
}

/// The name of an environment variable.
pub(super) fn variable(name: &str) -> Result<(), Wrong> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(())
    } else {
        Err("is not the name of a variable")
    }
}

/// Names for bases, options and the project.
pub(super) fn plain_name(name: &str) -> Result<(), Wrong> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.len() > 100 {
        return Err("has more than 100 characters");
    }
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)) {
        Ok(())
    } else {
        Err("is not a plain name")
    }
}

/// The name of a Debian source or binary package (Debian Policy, 5.6.1).
pub(super) fn package(name: &str) -> Result<(), Wrong> {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() >= 2
        && name.starts_with(lower)
        && name.chars().all(|c| lower(c) || "+-.".contains(c));
    if good { Ok(()) } else { Err("is not the name of a Debian package") }
}

/// A package as apt takes it: `name`, `name:arch`, `name=version`.
pub(super) fn apt_package(text: &str) -> Result<(), Wrong> {
    let (name, version) = text.split_once('=').unwrap_or((text, "0"));
    let (name, architecture) = name.split_once(':').unwrap_or((name, "any"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.~:_".contains(c);
    if [version, architecture].iter().any(|t| t.is_empty() || !t.chars().all(plain)) {
        return Err("is not the name of a Debian package");
    }
    package(name)
}

/// Words that go into `DEB_BUILD_PROFILES`, `DEB_BUILD_OPTIONS`, `--variant` and the like.
pub(super) fn word(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if first && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+=,-".contains(c)) {
        Ok(())
    } else {
        Err("is not a plain word")
    }
}

/// An SHA-256 sum, made lower case.
pub(super) fn sha256(text: &str) -> Result<String, Wrong> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not an SHA-256 sum")
    }
}

/// A full commit id, made lower case.
pub(super) fn commit(text: &str) -> Result<String, Wrong> {
    if matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not a full commit id")
    }
}

/// The address of a file.
pub(super) fn url(text: &str) -> Result<(), Wrong> {
    let schemes = ["https://", "http://", "file://"];
    let Some(rest) = schemes.iter().find_map(|s| text.strip_prefix(s)) else {
        return Err("is not an https://, http:// or file:// address");
    };
    if rest.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("is not a complete address");
    }
    Ok(())
}

/// What `git fetch` can fetch from.
pub(super) fn repository(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err("is empty");
    }
    // `-` would be an option, `::` one of git's helpers, which run commands.
    if text.starts_with('-')
        || text.contains("::")
        || text.chars().any(|c| c.is_control() || c == ' ')
    {
        return Err("is not the address of a git repository");
    }
    Ok(())
}

/// A time span: `90s`, `30m`, `1h30m`.
pub(super) fn timeout(text: &str) -> Result<Duration, Wrong> {
    const WRONG: Wrong = "is not a time span";
    let mut units = [('h', 3600_u64), ('m', 60), ('s', 1)].into_iter();
    let mut rest = text;
    let mut seconds = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?;
        let number: u64 = rest[..digits].parse().map_err(|_| WRONG)?;
        let unit = rest[digits..].chars().next().ok_or(WRONG)?;
        // The units come in this order, each once at most.
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or(WRONG)?;
        seconds = number.checked_mul(factor).and_then(|n| n.checked_add(seconds)).ok_or(WRONG)?;
        rest = &rest[digits + 1..];
    }
    match seconds {
        0 => Err(WRONG),
        // More is a slip, and would overflow clocks.
        s if s > 30 * 24 * 3600 => Err("is longer than 30 days"),
        s => Ok(Duration::from_secs(s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let good = [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200), ("1h0m1s", 3601)];
        for (text, seconds) in good {
            assert_eq!(timeout(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "0s", "30", "m", "1m1h", "1m1m", "-1s", "1.5h", "1 h", "30min", "١s", "721h"]
        {
            assert!(timeout(bad).is_err(), "{bad}");
        }
        assert!(timeout("99999999999999999999s").is_err());
        assert!(timeout("18446744073709551615h").is_err());
    }

    #[test]
    fn paths() {
        for (text, path_of) in [("a/b", "a/b"), ("./a//b/", "a/b"), (".", "."), ("a..b", "a..b")] {
            assert_eq!(some_path(text).as_deref(), Ok(path_of));
        }
        for bad in ["", "/a", "..", "a/../b", "a\nb"] {
            assert!(some_path(bad).is_err(), "{bad}");
        }
        assert!(path(&"x".repeat(256)).is_err());
        assert_eq!(path("").as_deref(), Ok(""));
    }

    #[test]
    fn globs() {
        for good in
            ["*", "usr/**/*.so{,.*}", "[a-z]*", "[]]", "[!x]", "[^a-c-]", "a\\[", "{a,{b,c}}"]
        {
            assert_eq!(glob(good), Ok(()), "{good}");
        }
        for bad in ["", "/usr", "../x", "[a", "[", "[!", "{a", "a}", "a\\", "[z-a]"] {
            assert!(glob(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn packages_and_addresses() {
        for good in ["flex", "g++", "libssl-dev:arm64", "gcc-12=12.2.0-14", "x11proto-core-dev"] {
            assert_eq!(apt_package(good), Ok(()), "{good}");
        }
        for bad in ["", "-y", "Flex", "a b", "flex:", "flex=", "./x.deb", "x"] {
            assert!(apt_package(bad).is_err(), "{bad}");
        }
        assert_eq!(url("https://example.org/a.tar"), Ok(()));
        for bad in ["", "https://", "ftp://x", "https://a b", "https://\u{e9}"] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert_eq!(repository("git@example.org:a/b.git"), Ok(()));
        for bad in ["", "--upload-pack=x", "ext::sh -c x", "a b"] {
            assert!(repository(bad).is_err(), "{bad}");
        }
    }
}
