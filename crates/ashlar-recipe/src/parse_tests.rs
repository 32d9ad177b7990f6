//! Shapes: what is taken as it is, and what no bytes may do.

use proptest::prelude::*;

use super::*;
use crate::written::{Command, Module};

/// The example of the guide, with everything a module file can say.
const LLDPD: &str = r#"# modules/net/lldpd.toml
description = "LLDP daemon"
base = "debian"
depends = ["net/net-snmp", "libevent"]
tools = ["flex", "bison"]
uses = ["debug"]
env = { CFLAGS = "-O2" }
salt = ""
[[source]]
deb = "lldpd"
patches = ["patches/lldpd/*.patch"]
[[source]]
url = "https://example.org/x.tar.gz"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
mirrors = ["http://example.org/x.tar.gz"]
unpack = false
into = "extra"
strip = 0
[[source]]
git = "https://example.org/x.git"
commit = "0000000000000000000000000000000000000000"
submodules = true
into = "git"
[build]
kind = "autotools"
configure = ["--with-snmp", 'with "quotes"']
compile = """
make
"""
timeout = "30m"
[outputs]
expect = ["usr/sbin/lldpd"]
overlap = ["usr/share/**"]
"#;

const PROJECT: &str = r#"[project]
name = "firmware"
default = ["minimal"]
salt = ""
common = ["common/*.sh"]
[env]
LANG = "C.UTF-8"
[options.debug]
type = "bool"
default = false
[options.level]
type = "enum"
values = ["low", "high"]
[base.debian]
suite = "bookworm"
variant = "buildd"
packages = ["pkg-config"]
[base.busybox]
path = "rootfs/"
[base.host]
host = true
"#;

fn module(text: &str) -> Module {
    parse_module("modules/a.toml", text.as_bytes()).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    parse_module("modules/a.toml", bytes).unwrap_err().render_plain()
}

#[test]
fn spans_are_where_values_stand() {
    let written = module(LLDPD);
    let shown = |span: Span| &LLDPD[span.range()];
    assert_eq!(shown(written.depends[1].span), "\"libevent\"");
    assert_eq!(shown(written.sources[2].span), "[[source]]");
    assert_eq!(shown(written.env[0].0.span), "CFLAGS");
    let build = written.build.unwrap();
    assert_eq!(shown(build.timeout.unwrap().span), "\"30m\"");
    let configure = build.configure.unwrap();
    let Command::Arguments(arguments) = configure.value else { panic!("a list") };
    assert_eq!(shown(arguments[1].span), "'with \"quotes\"'");
    assert_eq!(build.compile.unwrap().value, Command::Script("make\n".into()));
}

#[test]
fn one_source_is_a_table_or_a_list() {
    let one = module("[source]\npath = \"x\"\n");
    let list = module("[[source]]\npath = \"x\"\n");
    let inline = module("source = [{ path = \"x\" }]\n");
    for written in [one, list, inline] {
        assert_eq!(written.sources.len(), 1);
        assert_eq!(written.sources[0].path.as_ref().unwrap().value, "x");
    }
}

#[test]
fn written_survives_the_cache() {
    let written = module(LLDPD);
    let bytes = postcard::to_stdvec(&written).unwrap();
    assert_eq!(postcard::from_bytes::<Module>(&bytes).unwrap(), written);
    let project = parse_project(PROJECT.as_bytes()).unwrap();
    let bytes = postcard::to_stdvec(&project).unwrap();
    assert_eq!(postcard::from_bytes::<written::Project>(&bytes).unwrap(), project);
    // A cache that was cut off is no module, and no panic.
    for end in 0..bytes.len() {
        assert!(postcard::from_bytes::<written::Project>(&bytes[..end]).is_err());
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let text = "\u{feff}base = \"debian\"\nx = 1\n";
    let expected = "modules/a.toml:2:1: unknown key `x`\n  x = 1\n  ^\n  help: known are: \
                    description, base, depends, tools, uses, env, salt, source, build, outputs\n";
    assert_eq!(refused(text.as_bytes()), expected);
    assert_eq!(module("\u{feff}base = \"debian\"\n").base.unwrap().value, "debian");
}

#[test]
fn carriage_returns_are_line_ends() {
    assert_eq!(module("base = \"x\"\r\nsalt = \"y\"\r\n").salt.unwrap().value, "y");
    assert!(
        refused(b"base = \"x\"\r\nsalt = 1\r\n")
            .contains("a.toml:2:8: `salt` must be a text\n  salt = 1\n         ^ this")
    );
}

#[test]
fn bytes_that_are_no_text() {
    assert_eq!(
        refused(b"salt = \"a\"\nbase = \"\xff\xfe\"\n"),
        "modules/a.toml:2:9: the file is not UTF-8 text
  base = \"\u{fffd}\u{fffd}\"
          ^ these bytes are not
  help: save it as UTF-8
"
    );
}

#[test]
fn huge_files_are_refused_unread() {
    let huge = vec![b'#'; 10 << 20];
    assert_eq!(
        refused(&huge),
        "`modules/a.toml` is 10.0 MiB large\n  help: a project or module file has at most 4 MiB; is it one?\n"
    );
    assert!(parse_project(&huge).is_err());
}

#[test]
fn large_files_are_no_trouble() {
    // As many mistakes as fit are counted, not kept; deep nesting is refused, not followed.
    let many = format!("depends = [{}]", "1,".repeat(1 << 20));
    let problems = parse_module("modules/a.toml", many.as_bytes()).unwrap_err();
    assert_eq!((problems.list.len(), problems.list.len() + problems.more), (20, 1 << 20));
    assert!(problems.render_plain().ends_with("\nand 1048556 more\n"));
    for open in ["[", "{a=", "[["] {
        let deep = format!("env = {}", open.repeat(1 << 20));
        assert!(parse_module("modules/a.toml", deep.as_bytes()).is_err());
    }
    let dotted = format!("{}a = 1", "a.".repeat(1 << 20));
    assert!(parse_module("modules/a.toml", dotted.as_bytes()).is_err());
}

#[test]
fn long_lines_are_shown_around_the_place() {
    let text = format!("salt = \"{}\"; x\n", "é".repeat(500));
    let shown = refused(text.as_bytes());
    assert!(shown.lines().all(|line| line.chars().count() <= 110), "{shown}");
    assert!(shown.starts_with("modules/a.toml:1:510: "), "{shown}");
}

/// One change of some bytes.
fn mutation() -> impl Strategy<Value = (usize, u8, Vec<u8>)> {
    let snippets = ["", "[", "]", "\"", "\n", "{", "}", "=", ".", "..", "\\u0000", "[[source]]\n"];
    let snippet = prop::sample::select(snippets.map(str::as_bytes).map(<[u8]>::to_vec).to_vec());
    (any::<usize>(), 0_u8..12, prop_oneof![snippet, prop::collection::vec(any::<u8>(), 0..4)])
}

fn mutate(bytes: &mut Vec<u8>, changes: Vec<(usize, u8, Vec<u8>)>) {
    for (at, removed, inserted) in changes {
        let at = at % (bytes.len() + 1);
        let end = (at + usize::from(removed)).min(bytes.len());
        bytes.splice(at..end, inserted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the bytes are, the answer is a project or problems that can be shown.
    #[test]
    fn no_bytes_panic(
        in_module in prop::collection::vec(mutation(), 0..4),
        in_project in prop::collection::vec(mutation(), 0..3),
    ) {
        let (mut module, mut project) = (LLDPD.as_bytes().to_vec(), PROJECT.as_bytes().to_vec());
        mutate(&mut module, in_module);
        mutate(&mut project, in_project);
        let mut files = crate::load::tests::Files::default();
        files.0.insert("ashlar.toml".into(), project);
        files.0.insert("modules/net/lldpd.toml".into(), module);
        for other in ["net/net-snmp", "libevent", "minimal"] {
            files.0.insert(format!("modules/{other}.toml"), b"[build]\nkind = \"group\"\n".to_vec());
        }
        if let Err(problems) = crate::load(&files, &[("debug".into(), "true".into())]) {
            prop_assert!(!problems.list.is_empty());
            let shown = problems.render_plain();
            prop_assert!(!shown.is_empty());
            prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
}
