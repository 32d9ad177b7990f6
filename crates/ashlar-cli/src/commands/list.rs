//! `ashlar list`.

use serde_json::json;

use crate::args::Globals;
use crate::exit::{Exit, Failed};
use crate::show::{self, Paint};
use crate::wiring::Session;

pub fn run(globals: &Globals) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let modules = &session.project.modules;
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let wide = modules.keys().map(|name| name.as_str().len()).max().unwrap_or_default();
    let mut out = String::new();
    for (name, module) in modules {
        if globals.json {
            show::line(&json!({
                "module": name.as_str(),
                "kind": module.build.kind.as_str(),
                "description": module.description,
                "base": module.base,
                "depends": module.depends.iter().map(ashlar_recipe::ModuleName::as_str).collect::<Vec<_>>(),
                "default": session.project.default.contains(name),
            }));
            continue;
        }
        let padding = " ".repeat(wide - name.as_str().len());
        let kind = format!("{:9}", module.build.kind.as_str());
        let line = format!(
            "{}{padding}  {}  {}",
            paint.bold(name.as_str()),
            paint.dim(&kind),
            module.description
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    show::print(&out);
    Ok(Exit::Done)
}
