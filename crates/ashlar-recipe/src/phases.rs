//! The default commands of the kinds, and how what is written changes them.

use crate::resolved::Kind;

/// The names of the three phases, in order.
pub(crate) const NAMES: [&str; 3] = ["configure", "compile", "install"];

/// Where the arguments of a module go in a default command.
const ARGUMENTS: &str = " ARGS";

/// The default command of a phase; `None` when the kind has none. Options of `dpkg-buildpackage`
/// come from [`deb`].
pub(crate) fn default(kind: Kind, phase: usize) -> Option<&'static str> {
    let commands: [&str; 3] = match kind {
        Kind::Autotools => [
            "./configure --prefix=/usr --sysconfdir=/etc --localstatedir=/var ARGS",
            "make ARGS",
            r#"make install DESTDIR="$DESTDIR" ARGS"#,
        ],
        Kind::Make => [
            "",
            "make ARGS",
            // Makefiles by hand use the one or the other name.
            r#"make install DESTDIR="$DESTDIR" PREFIX=/usr prefix=/usr ARGS"#,
        ],
        Kind::Cmake => [
            "cmake -S . -B /build/obj -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=Release ARGS",
            "make -C /build/obj ARGS",
            r#"DESTDIR="$DESTDIR" cmake --install /build/obj ARGS"#,
        ],
        Kind::Meson => [
            "meson setup /build/obj --prefix=/usr --buildtype=release --wrap-mode=nodownload ARGS",
            r#"ninja -C /build/obj -j "$JOBS" ARGS"#,
            r#"meson install -C /build/obj --no-rebuild --destdir "$DESTDIR" ARGS"#,
        ],
        Kind::Deb => [
            "",
            // Makefiles below take DESTDIR, ARCH and the like for their own when they find them.
            r#"DEB_BUILD_OPTIONS="parallel=$JOBS" env -u DESTDIR -u SRCDIR -u ARCH -u JOBS dpkg-buildpackage -b -uc -us ARGS"#,
            // Without udebs or debug packages the pattern stays as it is, and names no file.
            "for package in ../*.deb ../*.udeb ../*.ddeb; do\n    \
                if [ -e \"$package\" ]; then mv \"$package\" \"$DESTDIR/\"; fi\n\
             done",
        ],
        Kind::Script | Kind::Import | Kind::Image | Kind::Group => ["", "", ""],
    };
    commands.get(phase).copied().filter(|command| !command.is_empty())
}

/// A default command with arguments; `None` when it takes none.
pub(crate) fn with_arguments<'a>(
    command: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let (before, after) = command.split_once(ARGUMENTS)?;
    let mut script = before.to_owned();
    for argument in arguments {
        script.push(' ');
        quote(argument, &mut script);
    }
    script.push_str(after);
    Some(script)
}

/// A default command without arguments.
pub(crate) fn plain(command: &str) -> String {
    command.replacen(ARGUMENTS, "", 1)
}

/// The command that builds packages with its profiles and build options, which hold plain words
/// only. Other commands of kind `deb` stay as they are.
pub(crate) fn deb(command: &str, profiles: &[String], options: &[String]) -> String {
    let mut command = command.to_owned();
    if !command.starts_with("DEB_BUILD_OPTIONS=") {
        return command;
    }
    if !options.is_empty() {
        command = command.replacen("parallel=", &format!("{} parallel=", options.join(" ")), 1);
    }
    if !profiles.is_empty() {
        command = format!(r#"DEB_BUILD_PROFILES="{}" {command}"#, profiles.join(" "));
    }
    command
}

/// Adds a word so that the shell sees it as it is.
fn quote(word: &str, script: &mut String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./=:,+@%^-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        script.push_str(word);
    } else {
        script.extend(["'", &word.replace('\'', r"'\''"), "'"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_program_unchanged() {
        let given =
            ["--plain=/usr", "two words", "$HOME", "it's", "", "a\nb", "*", "~", "`id`", "#x"];
        let script = with_arguments(r#"printf '<%s>' ARGS"#, given).unwrap();
        let ran = std::process::Command::new("sh").args(["-eu", "-c", &script]).output().unwrap();
        let seen: String = given.iter().map(|g| format!("<{g}>")).collect();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), seen);
    }

    #[test]
    fn every_default_is_a_script() {
        use Kind::{Autotools, Cmake, Deb, Group, Import, Make, Meson, Script};
        for kind in [Script, Make, Autotools, Cmake, Meson, Deb, Import, Group] {
            for phase in 0..NAMES.len() {
                let Some(command) = default(kind, phase) else { continue };
                let script = plain(command);
                assert!(!script.contains("ARGS"), "{script}");
                let parsed = std::process::Command::new("sh").args(["-n", "-c", &script]).status();
                assert!(parsed.unwrap().success(), "{script}");
            }
        }
    }

    #[test]
    fn deb_has_profiles_and_options() {
        let command = plain(default(Kind::Deb, 1).unwrap());
        assert_eq!(
            deb(&command, &["nodoc".into(), "stage1".into()], &["nocheck".into()]),
            r#"DEB_BUILD_PROFILES="nodoc stage1" DEB_BUILD_OPTIONS="nocheck parallel=$JOBS" env -u DESTDIR -u SRCDIR -u ARCH -u JOBS dpkg-buildpackage -b -uc -us"#
        );
        let install = default(Kind::Deb, 2).unwrap();
        assert_eq!(deb(install, &["nodoc".into()], &["nocheck".into()]), install);
        assert!(deb(&command, &[], &[]).starts_with(r#"DEB_BUILD_OPTIONS="parallel=$JOBS" "#));
    }
}
