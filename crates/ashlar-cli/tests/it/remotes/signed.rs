//! Signatures: who may leave results that others take.

use std::path::Path;
use std::process::Command;

use super::{elsewhere, from, tally, with_folder};

fn key(folder: &Path, name: &str) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
}

#[test]
fn only_what_was_signed_is_taken() {
    let project = with_folder();
    key(&project.root, "ci");
    key(&project.root, "other");
    let text = project.read("ashlar.toml");
    let signs = |key: &str| {
        let line = if key.is_empty() { String::new() } else { format!("sign = \"{key}.key\"\n") };
        project.file("ashlar.toml", format!("{text}{line}require_signature = [\"ci.pub\"]\n"));
    };
    // Nobody signed, or the wrong one did: built again, and said once.
    for (key, said) in [("", "it is not signed"), ("other", "require_signature")] {
        signs(key);
        elsewhere(&project, "attacker", &["build", "--rebuild", "app"]).good();
        elsewhere(&project, "attacker", &["push", "app"]).good();
        let store = format!("reader-{key}");
        let args = ["build", "app", "--remote", "team=read"];
        let ran = elsewhere(&project, &store, &args).good().says(said);
        assert_eq!(ran.err.matches("warning:").count(), 1, "{}", ran.err);
        assert!(ran.err.contains("built app"), "{}", ran.err);
    }
    signs("ci");
    let ran = elsewhere(&project, "builder", &["build", "--json", "app"]).good();
    assert_eq!(tally(&ran, "team")["failed"], 0);
    // Who only reads needs no private key.
    std::fs::remove_file(project.root.join("ci.key")).unwrap();
    let args = ["build", "--json", "app", "--remote", "team=read"];
    assert_eq!(from(&elsewhere(&project, "last", &args).good()), "app:team");
}

#[test]
fn nobody_signs_what_anybody_left() {
    let project = with_folder();
    key(&project.root, "ci");
    // Somebody fills the place that anybody writes to.
    elsewhere(&project, "attacker", &["build", "app"]).good();
    let text = project.read("ashlar.toml");
    let release = "[[remote]]\nname = \"release\"\nurl = \"dir:../release\"\nwrite = true\n\
                   sign = \"ci.key\"\nrequire_signature = [\"ci.pub\"]\n";
    // The signed place stands before it, so that what comes would be left there.
    let at = text.find("[[remote]]").unwrap();
    project.file("ashlar.toml", format!("{}{release}{}", &text[..at], &text[at..]));
    let ran = elsewhere(&project, "ci", &["build", "--json", "app"]).good();
    assert_eq!(from(&ran), "app:team");
    let release = tally(&ran, "release");
    assert_eq!((&release["pushed"], &release["untrusted"]), (&0.into(), &1.into()), "{release}");
    let ran = elsewhere(&project, "ci", &["push", "-v", "app", "--to", "release"]).good();
    ran.says("it comes from remote team, or from what does, which requires no signature");
    // Where only signed results are taken, what is in the store already does not count.
    let refused = "it comes from remote team, or from what does, which requires no signature";
    let dest = project.root.join("../out").display().to_string();
    let checkout = ["checkout", "app", &dest, "--remote", "team=off"];
    elsewhere(&project, "ci", &checkout).exits(1).says("app is not built as it is now");
    for (command, said) in [
        ("show", "not built as it is now".to_owned()),
        ("why", format!("its result is there, but {refused}")),
        ("plan", format!("its result is there, but {refused}")),
        ("check", "app is not built as it is now".to_owned()),
    ] {
        let ran = elsewhere(&project, "ci", &[command, "app", "--remote", "team=off"]);
        assert!(ran.out.contains(&said) || ran.err.contains(&said), "{}{}", ran.out, ran.err);
    }
    let strict = ["build", "--json", "app", "--remote", "team=off"];
    let ran = elsewhere(&project, "ci", &strict).good();
    assert_eq!(tally(&ran, "release")["untrusted"], 0);
    assert_eq!(ran.summary()["hit"], 0, "{}", ran.out);
    assert_eq!(from(&elsewhere(&project, "reader", &strict).good()), "app:release");
    elsewhere(&project, "ci", &checkout).good();
}
