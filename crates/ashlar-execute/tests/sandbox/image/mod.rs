//! Commands in images.

mod changes;
mod ends;
mod gateway;
mod mounts;
mod sees;
mod shell;
mod users;

use std::fs;
use std::path::Path;

use ashlar_execute::{ImageMount, ImageView, Keep, Kept, Mounted, Request, Root, User, View};
use ashlar_object::{Command, Tree};
use ashlar_store::Capture;

use crate::fixture::{Fixture, request};

/// What a `RUN` of a shell script on busybox is, as root and without a network.
pub fn run(fixture: &Fixture, script: &str) -> Request {
    on(vec![fixture.busybox()], script)
}

/// The same on these layers.
pub fn on(layers: Vec<Kept>, script: &str) -> Request {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    Request {
        command: Command {
            arguments: ["/bin/sh", "-ec", script].map(str::to_owned).to_vec(),
            environment: [("PATH".to_owned(), path.to_owned())].into(),
            working_directory: String::new(),
            output_paths: Vec::new(),
        },
        keep: Keep::Changes,
        view: View::Image(Box::default()),
        ..request(Root::Layers(layers), script)
    }
}

/// The view of a request, to change it.
pub fn view(request: &mut Request) -> &mut ImageView {
    match &mut request.view {
        View::Image(view) => view,
        View::Module => panic!("no image"),
    }
}

/// Somebody without supplementary groups.
pub fn user(uid: u32, gid: u32) -> User {
    User { uid, gid, groups: Vec::new(), home: "/home/user".into() }
}

pub fn mount(at: &str, what: Mounted) -> ImageMount {
    ImageMount { at: at.into(), what }
}

/// Busybox with folders that an image has: `/tmp`, `/run`, a tree `/data`, users.
pub fn base(fixture: &Fixture) -> Vec<Kept> {
    let more = fixture.tree(Capture::Layer, |root| {
        for folder in ["tmp", "run", "data/old", "data/deep/er"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), mode(0o1777)).unwrap();
        for file in ["data/one", "data/two", "data/old/x", "data/deep/er/y"] {
            fs::write(root.join(file), file).unwrap();
        }
    });
    vec![fixture.busybox(), more]
}

pub fn mode(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// A tree with one file.
pub fn one_file(fixture: &Fixture, path: &str, content: &str) -> Kept {
    fixture.tree(Capture::Root, |root| {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(file, content).unwrap();
    })
}

/// The content of a file of a tree.
pub fn content(fixture: &Fixture, tree: &Tree, path: &str) -> String {
    match tree.get(&path.parse().unwrap()) {
        Some(ashlar_object::Node::File(file)) => fixture.text(&file.digest),
        other => panic!("{path} is {other:?}"),
    }
}
