//! What the machine lacks for building.

use crate::ExecuteError;
use crate::rights::{Rights, find, rights};

/// Whether this machine can run a sandbox at all: programs, kernel settings. Reads a few files
/// and starts nothing.
///
/// # Errors
/// [`ExecuteError::Lacks`], with what to do about it.
pub fn probe() -> Result<(), ExecuteError> {
    let lacks = |what: &str, advice: &str| {
        Err(ExecuteError::Lacks { what: what.into(), advice: advice.into() })
    };
    if find("bwrap").is_none() {
        return lacks(
            "`bwrap` is not installed, which is the sandbox",
            "install the package bubblewrap",
        );
    }
    if !std::path::Path::new("/proc/self/ns/user").exists() {
        return lacks(
            "this kernel has no user name spaces",
            "use a kernel with CONFIG_USER_NS=y, and mount /proc",
        );
    }
    let setting = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_owned())
    };
    if setting("user/max_user_namespaces").as_deref() == Some("0") {
        return lacks(
            "user name spaces are switched off",
            "sysctl -w user.max_user_namespaces=10000",
        );
    }
    if rights() == Rights::Plain {
        if find("unshare").is_none() {
            return lacks("`unshare` is not installed", "install the package util-linux");
        }
        if setting("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
            return lacks(
                "user name spaces are switched off for ordinary users",
                "sysctl -w kernel.unprivileged_userns_clone=1",
            );
        }
        if setting("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
            return lacks(
                "AppArmor keeps ordinary users from using user name spaces",
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            );
        }
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let overlay = known.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    if !overlay && !module_exists() {
        return lacks("this kernel has no overlay file system", "modprobe overlay (as root)");
    }
    Ok(())
}

/// Whether the kernel can load overlayfs when it is first mounted.
fn module_exists() -> bool {
    let release = rustix::system::uname();
    let folder = format!("/lib/modules/{}", release.release().to_string_lossy());
    std::fs::read_to_string(format!("{folder}/modules.dep"))
        .is_ok_and(|text| text.contains("/overlay.ko"))
        || std::fs::read_to_string(format!("{folder}/modules.builtin"))
            .is_ok_and(|text| text.contains("/overlay.ko"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_can_build() {
        super::probe().unwrap();
    }
}
