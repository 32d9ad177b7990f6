//! File systems of their own for stores.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something mounted, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// A small disk. `None`, with a line that says so, where this may not be made.
    pub fn disk(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes},mode=0755");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], at)
    }

    /// Makes a folder read-only, as a disk that had errors is.
    pub fn read_only(at: &Path) -> Option<Self> {
        let bound = mount(&["--bind", at.to_str().unwrap()], at)?;
        assert!(run(&["-o", "remount,bind,ro"], at).is_ok());
        Some(bound)
    }
}

fn mount(args: &[&str], at: &Path) -> Option<Mount> {
    match run(args, at) {
        Ok(()) => Some(Mount(at.to_owned())),
        Err(why) => {
            println!("skipped, because nothing can be mounted here: {why}");
            None
        }
    }
}

fn run(args: &[&str], at: &Path) -> Result<(), String> {
    let done = Command::new("mount").args(args).arg(at).output().map_err(|e| e.to_string())?;
    let why = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(()) } else { Err(why) }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a test that fails may have left something that uses it.
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}
