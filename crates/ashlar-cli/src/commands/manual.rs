//! `ashlar completions`, `man` and `schema`.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::{Args, SchemaOf};
use crate::exit::{Exit, Failed};
use crate::show;

pub fn completions(shell: Shell) -> Result<Exit, Failed> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ashlar", &mut text);
    show::print(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}

pub fn man(folder: Option<&Path>) -> Result<Exit, Failed> {
    let failed = |e: std::io::Error| Failed::usage(format!("cannot write the manual: {e}"));
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(Args::command(), folder).map_err(failed)?;
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut text).map_err(failed)?;
            show::print(&String::from_utf8_lossy(&text));
        }
    }
    Ok(Exit::Done)
}

pub fn schema(file: SchemaOf) -> Result<Exit, Failed> {
    let schema = match file {
        SchemaOf::Project => ashlar_recipe::project_schema(),
        SchemaOf::Module => ashlar_recipe::module_schema(),
        SchemaOf::Cache => ashlar_recipe::cache_schema(),
        SchemaOf::Run => ashlar_recipe::run_schema(),
    };
    show::print(&format!("{schema:#}\n"));
    Ok(Exit::Done)
}
