//! Where the servers are installed.

use std::path::{Path, PathBuf};

/// The variable that names the folder of the servers that are no Debian packages.
pub const SERVERS: &str = "ASHLAR_TEST_SERVERS";

/// The folder of the servers that are no Debian packages, as `scripts/servers` fills it.
fn servers() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(SERVERS).unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .unwrap_or_default()
            .join("ashlar-test-servers")
    })
}

/// A file below the folder of the servers.
pub(crate) fn installed(name: &str, path: &str) -> PathBuf {
    let path = servers().join(path);
    assert!(
        path.exists(),
        "{name} is not installed: run `make install-test-needs` ({})",
        path.display()
    );
    path
}

/// The folder of the source archives of `examples/ci-layers`.
///
/// # Panics
/// When they are not there, with the command that gets them.
#[must_use]
pub fn archives() -> PathBuf {
    installed("the archives of examples/ci-layers", "archives")
}

/// A file that matches `<folder>/python/<environment>/lib/python*/site-packages/<path>`.
pub(crate) fn installed_python(name: &str, environment: &str, path: &str) -> PathBuf {
    let lib = installed(name, &format!("python/{environment}/lib"));
    let versions =
        std::fs::read_dir(&lib).unwrap_or_else(|error| panic!("{}: {error}", lib.display()));
    let found = versions
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("site-packages").join(path))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: run `make install-test-needs`"))
}

/// The Python that has the schemas of CI systems (`check-jsonschema`) installed.
///
/// # Panics
/// When it is not there, with the command that gets it.
#[must_use]
pub fn schemas() -> PathBuf {
    installed("check-jsonschema", "python/schemas/bin/python")
}

/// A program of a Debian package, by its name.
///
/// # Panics
/// When it is not installed, with the command that installs it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder: PathBuf| folder.join(name))
        .find(|candidate: &PathBuf| Path::is_file(candidate))
        .unwrap_or_else(|| panic!("`{name}` is not installed: run `make install-test-needs`"))
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "make install-test-needs")]
    fn a_program_that_is_missing_fails_the_test() {
        let _path = super::program("no-program-has-this-name");
    }

    #[test]
    #[should_panic(expected = "garage is not installed: run `make install-test-needs`")]
    fn a_server_that_is_missing_fails_the_test() {
        let _path = super::installed("garage", "bin/no-program-has-this-name");
    }
}
