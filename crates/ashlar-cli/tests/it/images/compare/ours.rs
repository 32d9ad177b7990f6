//! Ashlar.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::case::{Case, Place};
use super::oracle::Oracle;
use crate::support::{ASHLAR, Ran};

/// Builds a case into an OCI layout.
pub fn build(case: &Case, place: &Place, oracle: &Oracle) -> Result<PathBuf, String> {
    let layout = place.folder.join("ours");
    let mut command = Command::new(ASHLAR);
    command
        .args(["image", "build", "--file"])
        .arg(place.folder.join("Dockerfile"))
        .args(case.arguments(place, &oracle.bases(), &oracle.onbuild()))
        .arg(format!("--output=oci:{}", layout.display()))
        .arg(&place.context)
        .env("ASHLAR_STORE", oracle.folder().join("store"))
        .current_dir(&place.folder)
        .stdin(Stdio::null());
    let ran = Ran::of(&command.output().unwrap());
    if ran.code == 0 {
        Ok(layout)
    } else {
        Err(format!("ashlar exits with {}\n{}{}", ran.code, ran.out, ran.err))
    }
}
