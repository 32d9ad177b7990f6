//! The whole program over files that were damaged at random: it may refuse them, nothing else.

use crate::support::Project;

/// Numbers that only look random, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

#[test]
fn damaged_files_are_refused_or_read() {
    let project = Project::sample();
    let mut numbers = Numbers(0x5eed_a54a_1ead_cafe);
    let files = ["ashlar.toml", "modules/app.toml", "modules/lib.toml"];
    let whole = files.map(|file| project.read(file));
    let pieces = [
        "\"", "[", "]", "=", "\n", "[[", "..", "/", "\u{0}", "é", "'''", "#", "{", "9", "depends",
        "kind = ",
    ];
    for round in 0..60 {
        let which = numbers.below(files.len());
        let mut bytes = whole[which].clone().into_bytes();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len() + 1);
            match numbers.below(4) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    let piece = pieces[numbers.below(pieces.len())];
                    bytes.splice(at..at, piece.bytes());
                }
            }
        }
        project.file(files[which], &bytes);
        let ran = project.run(&["plan", "--json", "app"]);
        let text = String::from_utf8_lossy(&bytes);
        assert!([0, 2].contains(&ran.code), "round {round}: {}\n{}\n{text}", ran.code, ran.err);
        assert!(!ran.err.contains("panicked"), "round {round}: {}\n{text}", ran.err);
        if ran.code == 2 {
            assert!(ran.err.starts_with("error: "), "round {round}: {}\n{text}", ran.err);
            assert_eq!(ran.events()[0]["event"], "error");
        }
        project.file(files[which], &whole[which]);
    }
}
