//! What is written of instructions, as it enters keys.

use ashlar_dockerfile::{self as dockerfile, Copy, RunMount};

/// All that is written of a mount and can change what a command sees.
pub(crate) fn mount_text(mount: &RunMount) -> String {
    match mount {
        RunMount::Bind { source, target, writable, from: _ } => {
            format!("bind\0{source}\0{target}\0{writable}")
        }
        RunMount::Cache { id, target, source, sharing, mode, uid, gid, read_only, from: _ } => {
            format!(
                "cache\0{id}\0{target}\0{source}\0{sharing:?}\0{mode}\0{uid}\0{gid}\0{read_only}"
            )
        }
        RunMount::Tmpfs { target, size } => format!("tmpfs\0{target}\0{size:?}"),
        RunMount::Secret { id, target, env, required: _, mode, uid, gid } => {
            format!("secret\0{id}\0{target:?}\0{env:?}\0{mode}\0{uid}\0{gid}")
        }
        RunMount::Checkpoint { target } => format!("checkpoint\0{target}"),
    }
}

/// All that is written of a copy but for contents. What is downloaded is in by its digest.
pub(crate) fn copy_text(copy: &Copy) -> String {
    let mut text = String::new();
    for source in &copy.sources {
        match source {
            dockerfile::CopySource::Path(path) => text.push_str(&format!("path\0{path}\0")),
            dockerfile::CopySource::Heredoc { name, .. } => {
                text.push_str(&format!("heredoc\0{name}\0"));
            }
            dockerfile::CopySource::Url { url } => text.push_str(&format!("url\0{url}\0")),
            dockerfile::CopySource::Git { repository, reference, folder } => {
                text.push_str(&format!("git\0{repository}\0{reference:?}\0{folder:?}\0"));
            }
        }
    }
    let Copy { destination, destination_is_folder, chown, chmod, link, parents, .. } = copy;
    text.push_str(&format!(
        "to\0{destination}\0{destination_is_folder}\0{chown:?}\0{chmod:?}\0{link}\0{parents}\0"
    ));
    let Copy { exclude, unpack, checksum, keep_git_dir, .. } = copy;
    text.push_str(&format!("{exclude:?}\0{unpack:?}\0{checksum:?}\0{keep_git_dir}"));
    text
}
