//! What `--secret` names.

use std::collections::BTreeMap;

use ashlar_execute::Secret;

use crate::exit::Failed;

/// `id=ID,src=FILE` and `id=ID,env=NAME`.
pub fn secrets(written: &[String]) -> Result<BTreeMap<String, Secret>, Failed> {
    let mut all = BTreeMap::new();
    for text in written {
        let wrong = |why: &str| {
            Failed::usage(format!("`--secret {text}`: {why}")).help("--secret id=NAME,src=FILE")
        };
        let (mut id, mut file, mut variable) = (None, None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(value.to_owned()),
                Some(("env", value)) => variable = Some(value.to_owned()),
                Some(("type", "file" | "env")) => {}
                _ => return Err(wrong(&format!("`{part}` is not understood"))),
            }
        }
        let id = id.ok_or_else(|| wrong("it has no id"))?;
        let content = match (file, variable) {
            (Some(file), None) => {
                std::fs::read(&file).map_err(|e| wrong(&format!("cannot read {file}: {e}")))?
            }
            (None, variable) => {
                let name = variable.unwrap_or_else(|| id.clone());
                let value = std::env::var_os(&name)
                    .ok_or_else(|| wrong(&format!("the variable {name} is not set")))?;
                value.into_encoded_bytes()
            }
            (Some(_), Some(_)) => return Err(wrong("it has both src and env")),
        };
        all.insert(id, content.into());
    }
    Ok(all)
}
