//! Every command of the program, as people and programs see it.

mod artifact;
mod asking;
mod building;
mod json;
mod kinds;
mod manual;
mod outputs;
mod project;
mod store;
mod terminal;
mod user;

use crate::support::Project;

/// The sample project with three more modules: one that fails, one that never comes out the same,
/// and a group.
fn sample() -> Project {
    let project = Project::sample();
    project.edit("ashlar.toml", "\"sample\"\n", "\"sample\"\ndefault = [\"app\"]\n");
    project.module(
        "bad",
        "description = \"Fails\"\ndepends = [\"lib\"]\n[build]\nkind = \"script\"\nsteps = ['cat /usr/lib/lib.txt > kept; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do echo line $i; done', 'echo oops >&2; exit 7']\n",
    );
    project.module(
        "random",
        "description = \"Never the same\"\n[build]\nkind = \"script\"\nsteps = ['cat /proc/sys/kernel/random/uuid > $DESTDIR/uuid', 'echo same > $DESTDIR/same']\n",
    );
    project.module(
        "all",
        "description = \"Everything\"\ndepends = [\"app\", \"beside\"]\n[build]\nkind = \"group\"\n",
    );
    project
}
