//! `.dockerignore`, `--exclude`, and the wildcards of `COPY`.

use ashlar_recipe::Problems;

use crate::glob::Glob;
use crate::path;
use crate::report::{Mistake, Report};

/// More patterns than this are refused.
const PATTERNS: usize = 10_000;

/// The patterns of a `.dockerignore` or of `--exclude`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    glob: Glob,
    /// `!`: what matches is wanted.
    wanted: bool,
}

impl Ignore {
    /// From patterns as `COPY --exclude` has them: relative to what is copied.
    ///
    /// # Errors
    ///
    /// The pattern that is wrong, and why.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut all = Self::default();
        for pattern in patterns {
            all.patterns.extend(Pattern::read(pattern)?);
        }
        Ok(all)
    }

    /// Leaves out one path (relative, clean), whatever patterns say of it.
    pub fn leave_out(&mut self, path: &str) {
        let mut literal = String::with_capacity(path.len());
        for c in path.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        // Every character of it stands for itself, so it can be read.
        if let Ok(glob) = Glob::path(&literal, true) {
            self.patterns.push(Pattern { glob, wanted: false });
        }
    }

    /// Whether a path (relative, clean, `/` between its parts) is left out. The last pattern that
    /// says something about the path, or about a folder above it, decides. The root never is.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        if path.is_empty() || path == "." {
            return false;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let folders: Vec<&str> = ends.map(|end| &path[..end]).collect();
        // Later patterns override earlier ones, so the last one that matches is enough.
        let says = |pattern: &&Pattern| folders.iter().any(|path| pattern.glob.matches(path));
        self.patterns.iter().rev().find(says).is_some_and(|pattern| !pattern.wanted)
    }

    /// Whether something below a folder that is left out may still be wanted: then it has to be
    /// walked.
    #[must_use]
    pub fn may_hold(&self, folder: &str) -> bool {
        let folder = folder.trim_end_matches('/');
        let wanted = |pattern: &Pattern| pattern.wanted && pattern.glob.may_match_below(folder);
        if folder.is_empty() || folder == "." {
            return true;
        }
        !self.is_ignored(folder) || self.patterns.iter().any(wanted)
    }

    /// Whether it leaves nothing out, whatever the path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.iter().all(|pattern| pattern.wanted)
    }
}

impl Pattern {
    /// A pattern as written; `None` of one that says nothing.
    fn read(written: &str) -> Result<Option<Self>, String> {
        let trimmed = written.trim();
        let (wanted, text) = match trimmed.strip_prefix('!') {
            Some(text) => (true, text.trim()),
            None => (false, trimmed),
        };
        if text.is_empty() {
            return if wanted { Err("`!` needs a pattern".to_owned()) } else { Ok(None) };
        }
        // Leading `..` cannot match anything in the context.
        let Some(clean) = path::relative(text) else { return Ok(None) };
        if clean.is_empty() {
            // `.` and `/` mean the context itself, which cannot be left out.
            return Ok(None);
        }
        Ok(Some(Self { glob: Glob::path(&clean, true)?, wanted }))
    }
}

/// Reads a `.dockerignore`. `name` is what mistakes call the file.
///
/// # Errors
///
/// Patterns that cannot be read.
pub fn ignore(name: &str, text: &str) -> Result<Ignore, Problems> {
    let mut report = Report::new(name, text);
    let mut all = Ignore::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        let whole = line.len();
        let line = line.strip_prefix('\u{feff}').filter(|_| at == 0).unwrap_or(line);
        let at = at + whole - line.len();
        if line.starts_with('#') {
            continue;
        }
        let span = at..at + line.trim_end().len();
        match Pattern::read(line) {
            Ok(pattern) => all.patterns.extend(pattern),
            Err(error) => report.refuse(
                Mistake::new(span.into(), error).help("put `\\` before a character that is meant"),
            ),
        }
        if all.patterns.len() > PATTERNS {
            let message = format!("there are more than {PATTERNS} patterns");
            report.refuse(Mistake::new((at..at).into(), message));
            break;
        }
    }
    report.finish().map(|_none| all)
}

/// Whether a wildcard pattern of a `COPY` source matches a whole path: `*` and `?` stay within one
/// part of the path, `[a-z]` and `[^a-z]` are classes, `\` takes the next character as it is. With
/// `doublestar` (as with `--parents`), a part `**` is any number of parts.
///
/// A pattern that is wrong (which [`crate::evaluate()`] refuses) matches nothing.
#[must_use]
pub fn matches(pattern: &str, path: &str, doublestar: bool) -> bool {
    Glob::path(pattern, doublestar).is_ok_and(|glob| glob.matches(path))
}

/// Whether a `COPY` source has wildcards, so that it may match several paths.
#[must_use]
pub fn has_wildcards(path: &str) -> bool {
    path.contains(['*', '?', '[', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_as_go_has_them() {
        // From the documentation of filepath.Match.
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "x", true),
            ("[x\\-]", "z", false),
            ("[\\-x]", "a", false),
            ("[]a]", "]", false),
            ("[-]", "-", false),
            ("[x-]", "x", false),
            ("[-x]", "x", false),
            ("\\", "a", false),
            ("[a-b-c]", "a", false),
            ("[", "a", false),
            ("[^", "a", false),
            ("[^bc", "a", false),
            ("a[", "a", false),
            ("a[", "ab", false),
            ("*x", "xxx", true),
            ("hom*", "home.txt", true),
        ] {
            assert_eq!(matches(pattern, path, false), expected, "{pattern} {path}");
        }
        for (pattern, path, expected) in [
            ("**/*.c", "a.c", true),
            ("**/*.c", "x/y/a.c", true),
            ("x/**/a.c", "x/a.c", true),
            ("x/**/a.c", "x/y/z/a.c", true),
            ("x/**/a.c", "xy/a.c", false),
            ("x/**", "x/y/z", true),
            ("x/**", "x", false),
            ("**", "a/b", true),
        ] {
            assert_eq!(matches(pattern, path, true), expected, "{pattern} {path}");
        }
    }

    fn ignored(text: &str, path: &str) -> bool {
        ignore(".dockerignore", text).unwrap().is_ignored(path)
    }

    #[test]
    fn what_is_left_out() {
        // The examples of the reference, and what its text says.
        let comment = "# comment\n*/temp*\n*/*/temp*\ntemp?\n";
        for (path, expected) in [
            ("somedir/temporary.txt", true),
            ("somedir/temp", true),
            ("somedir/temp/below", true),
            ("somedir/subdir/temporary.txt", true),
            ("tempa", true),
            ("tempb", true),
            ("temp", false),
            ("a/b/c/temp", false),
        ] {
            assert_eq!(ignored(comment, path), expected, "{path}");
        }
        for (text, path, expected) in [
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "OTHER.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("**/*.go", "a/b/x.go", true),
            ("**/*.go", "x.go", true),
            ("/foo/bar", "foo/bar", true),
            ("foo/bar/", "foo/bar/x", true),
            ("./foo//bar", "foo/bar", true),
            ("**", "a/b", true),
            ("**\n!a/b", "a/b", false),
            ("**\n!a/b", "a", true),
            ("*\n!src", "src/x/y", false),
            ("  spaced  \n", "spaced", true),
            ("#not\n", "#not", false),
            ("\\#yes\n", "#yes", true),
            ("a\r\nb\r\n", "a", true),
            ("\u{feff}a\n", "a", true),
            (".", "a", false),
            ("/", "a", false),
            ("../x", "x", false),
            ("node_modules", "a/node_modules", false),
            ("**/node_modules", "a/node_modules/b", true),
            ("**.pyc", "a/b.pyc", true),
            (".git", ".gitignore", false),
            ("a b", "a b/c", true),
        ] {
            assert_eq!(ignored(text, path), expected, "{text:?} {path}");
        }
        assert!(!ignored("*", "."));
    }

    #[test]
    fn folders_that_have_to_be_walked() {
        let all = ignore("i", "**\n!src/**/*.c\n!doc/a/b\n!**/keep").unwrap();
        assert!(all.may_hold("src") && all.may_hold("src/x/y") && all.may_hold("doc/a"));
        assert!(all.may_hold("any/where"), "because of **/keep");
        let some = ignore("i", "*\n!src/x\nsrc/x/y").unwrap();
        assert!(some.may_hold("src") && some.may_hold("src/x") && !some.may_hold("other"));
        assert!(!some.may_hold("srcs") && some.is_ignored("src/x/y"));
        assert!(!ignore("i", "target").unwrap().may_hold("target"));
    }

    #[test]
    fn patterns_that_are_refused() {
        let error = ignore(".dockerignore", "a\n!\n[b\nc\\\n").unwrap_err().render_plain();
        let expected = "\
.dockerignore:2:1: `!` needs a pattern
  !
  ^
  help: put `\\` before a character that is meant

.dockerignore:3:1: `[` in the pattern `[b` is not closed
  [b
  ^^
  help: put `\\` before a character that is meant

.dockerignore:4:1: the pattern `c\\` ends with `\\`
  c\\
  ^^
  help: put `\\` before a character that is meant
";
        assert_eq!(error, expected);
    }
    #[test]
    fn places_are_in_the_text_behind_a_mark_of_byte_order() {
        for text in ["\u{feff}\\\n", "\u{feff}[é", "\u{feff}!"] {
            let problems = ignore(".dockerignore", text).unwrap_err();
            let place = problems.list[0].place.as_ref().unwrap();
            assert_eq!(text.get(place.span.range()), Some(text[3..].trim_end()), "{text:?}");
            assert!(!problems.render_plain().is_empty());
        }
    }
}
