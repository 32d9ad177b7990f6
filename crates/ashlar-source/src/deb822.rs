//! Stanzas of fields, as Debian writes them (deb822(5)).

/// One stanza: fields in order. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stanza(Vec<(String, String)>);

impl Stanza {
    /// The value of a field: further lines without the space they begin with, the whole trimmed.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Sets a field, at its place when it is there.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// The stanza as text, with a line end behind the last field.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            text.push_str(name);
            text.push(':');
            for (index, line) in value.split('\n').enumerate() {
                if index > 0 {
                    text.push('\n');
                }
                text.push(' ');
                text.push_str(line);
            }
            text.push('\n');
        }
        text
    }
}

/// Reads stanzas. `Err` is the number of a line that cannot be read, from 1.
pub(crate) fn parse(text: &str) -> Result<Vec<Stanza>, usize> {
    let mut stanzas = Vec::new();
    let mut stanza = Stanza::default();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            if !stanza.0.is_empty() {
                stanzas.push(std::mem::take(&mut stanza));
            }
        } else if line.starts_with('#') {
            // A comment is no part of a value either.
        } else if let Some(more) = line.strip_prefix([' ', '\t']) {
            let (_, value) = stanza.0.last_mut().ok_or(index + 1)?;
            value.push('\n');
            value.push_str(more);
        } else {
            let (name, value) = line.split_once(':').ok_or(index + 1)?;
            if name.is_empty() || name.contains([' ', '\t']) {
                return Err(index + 1);
            }
            stanza.0.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    if !stanza.0.is_empty() {
        stanzas.push(stanza);
    }
    Ok(stanzas)
}

/// A file with its checksum, from a field like `Checksums-Sha256`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub name: String,
    pub sha256: String,
    pub size: u64,
}

/// Reads `<sha256> <size> <name>` lines. `None` when a line is not so.
pub(crate) fn listed(value: &str) -> Option<Vec<Listed>> {
    let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut parts = line.split_ascii_whitespace();
            let (sha256, size, name) = (parts.next()?, parts.next()?, parts.next()?);
            let plain = parts.next().is_none() && !name.contains('/') && name != "..";
            let size = size.parse().ok()?;
            plain.then(|| Listed { name: name.to_owned(), sha256: sha256.to_owned(), size })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = "A: 1\nB: x\n y\n .\n z\n";
        let stanzas = parse(&format!("\n# c\n{text}\n\n\nC:\n d\n")).unwrap();
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("b"), Some("x\ny\n.\nz"));
        assert_eq!(stanzas[0].to_text(), text);
        assert_eq!(stanzas[1].get("C"), Some("d"));
        assert_eq!(parse("A: 1\nnonsense\n"), Err(2));
        assert_eq!(parse(" before\n"), Err(1));
    }

    #[test]
    fn checksums_name_plain_files() {
        assert_eq!(listed("\nab 12 x.dsc\n").unwrap()[0].name, "x.dsc");
        assert!(listed("ab 12 ../x").is_none());
        assert!(listed("ab x y").is_none());
    }
}
