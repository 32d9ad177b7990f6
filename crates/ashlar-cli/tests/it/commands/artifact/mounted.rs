//! Destinations with other file systems in them, in a mount namespace of their own: whatever becomes
//! of the test, nothing stays mounted.

use std::process::{Command, Stdio};

use super::Pipeline;
use crate::support::{ASHLAR, Ran};

/// Everything below a folder that would show that somebody was there.
const LIST: &str = "list() { find full -printf '%i %y %m %u %T@ %C@ %p %l\\n' | sort; \
    find full -type f -print0 | sort -z | xargs -0 sha256sum; find . -name '*.ashlar-use-*'; }";

impl Pipeline {
    /// Runs a script in which things can be mounted.
    fn mounting(&self, reference: &str, script: &str) -> Ran {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", "-euc"])
            .arg(format!("{LIST}\n{script}"))
            .current_dir(&self.project.root)
            .env("ASHLAR", ASHLAR)
            .env("ASHLAR_STORE", &self.project.store)
            .env("REF", reference)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(&output)
    }
}

#[test]
fn what_is_mounted_below_is_not_replaced_and_nothing_else_is() {
    let pipeline = Pipeline::new();
    let reference = pipeline.create(&["SOURCE=src"]);
    pipeline.project.file("full/kept", "kept\n");
    pipeline.project.file("full/a/one", "another\n");
    pipeline.project.file("full/deep/down/mounted here/below", "hidden by the mount\n");
    let mount = "mount -t tmpfs tmpfs 'full/deep/down/mounted here'
        echo precious > 'full/deep/down/mounted here/precious'";

    let ran = pipeline.mounting(
        &reference,
        &format!(
            "{mount}
            list > before
            code=0; \"$ASHLAR\" artifact use --replace \"$REF=full\" || code=$?
            list > after
            cmp before after
            grep -q precious before
            exit $code"
        ),
    );
    let ran = ran.exits(2);
    let root = pipeline.project.root.canonicalize().unwrap();
    let expected = format!(
        "{0}/full/deep/down/mounted here is mounted below {0}/full: its files would be removed",
        root.display()
    );
    // Known before anything is fetched.
    ran.says(&expected).says("fetched 0 bytes");

    // Among what is there new files may go all the same, and in place of what is mounted as a whole.
    let ran = pipeline.mounting(
        &reference,
        &format!(
            "{mount}
            \"$ASHLAR\" artifact use --merge \"$REF=full\"
            cat 'full/deep/down/mounted here/precious' full/kept full/su
            \"$ASHLAR\" artifact use --replace \"$REF=full/deep/down/mounted here\"
            ls 'full/deep/down/mounted here'"
        ),
    );
    assert_eq!(ran.good().out, "precious\nkept\nsu\na\nempty\nhollow\nlarge\nlink\nsu\n");
    // What only the mount had is gone with it.
    assert_eq!(pipeline.project.read("full/deep/down/mounted here/below"), "hidden by the mount\n");
}
