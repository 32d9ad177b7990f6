//! What a step of an image sees and makes.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ashlar_dockerfile::{Run, RunMount};
use ashlar_execute::{
    ImageMount, ImageView, Keep, Kept, Leak, Mounted, Network, Owner, Request, Root, Secret, User,
    View, resolve_owner,
};
use ashlar_object::{CanonicalHasher, Command, Digest, Node, StepKey, Tree};
use ashlar_pack::image::{Bounds, read_layer};
use ashlar_plan::{Access, Download, Files, ImageWork, Step, StepIndex};
use ashlar_store::{Images, ResolvedImage, Watch, put, read};

use super::action;
use super::ahead::Keeping;
use super::cache_mount;
use super::copy::{Downloaded, copy};
use super::pinning::Pinning;
use super::pins::{Pinned, salted, show_proxy};
use super::select::{context_part, part, select};
use super::workdir::workdir;
use crate::engine::{Engine, Prepared, Results};
use crate::event::{ErrorKind, Failure};
use crate::failure::chain;

/// What the steps of an image are made with, besides what every step is.
pub struct Building<'a> {
    /// Where base images come from.
    pub images: &'a dyn Images,
    /// The base images, as the plan numbers them.
    pub bases: Vec<Arc<ResolvedImage>>,
    /// The contexts, as the plan numbers them.
    pub contexts: Vec<BuildContext>,
    /// Secrets by their ids.
    pub secrets: BTreeMap<String, Secret>,
    /// The folder where cache mounts are kept.
    pub caches: PathBuf,
    /// How long a command has to end when it is stopped.
    pub grace: Duration,
    /// Where downloads are pinned.
    pub pinning: Option<Arc<Pinning>>,
    /// Who keeps contents of contexts.
    pub keeping: Keeping,
}

/// The files that `COPY` and `ADD` read from.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// The folder.
    pub folder: PathBuf,
    /// What is in it.
    pub tree: Tree,
}

impl Building<'_> {
    pub(super) fn context(&self, number: usize) -> Result<&BuildContext, Failure> {
        let missing =
            || Failure::project("nothing is known of the files of the context".to_owned());
        self.contexts.get(number).ok_or_else(missing)
    }
}

impl Engine<'_> {
    /// What a step of an image sees, or what it makes when it runs no command.
    pub(crate) fn prepare_image(
        &self,
        step: &Step,
        work: &ImageWork,
        results: &Results,
    ) -> Result<Prepared, Failure> {
        let building = self.image.ok_or_else(|| {
            Failure::project("this is a step of an image, and no image is being built".to_owned())
        })?;
        if let ImageWork::Layer { base, layer } = work {
            let made = self.base_layer(building, *base, *layer)?;
            return Ok(action::made(step, "image layer", made));
        }
        let unknown = |need: StepIndex| {
            self.plan.steps[need].image().is_some_and(|work| work.to_record().is_some())
        };
        if step.needs().any(unknown) {
            // Its key would not be complete.
            return Err(Failure::project(
                "the downloads of an instruction below are not recorded yet".to_owned(),
            ));
        }
        if let ImageWork::Whole { configuration, layers } = work {
            return self.whole_image(step, configuration, layers, results);
        }
        if let ImageWork::Downloads(run) = work {
            let made = self.downloads(&run.gets)?;
            return Ok(self.internal("downloads", &made, made.clone()));
        }
        let layers = step
            .layers
            .iter()
            .map(|layer| self.outputs(*layer, results))
            .collect::<Result<Vec<Kept>, Failure>>()?;
        let below = self.trees.merged(&layers);
        let made = match work {
            ImageWork::Run { run, mounts, network } => {
                return self.run_in_image(step, building, run, mounts, network, layers, results);
            }
            ImageWork::Folder { path, user } => {
                let owner = self.owner(user.as_deref(), &below)?;
                workdir(path, owner, &below).map_err(refused)?
            }
            ImageWork::Copy { copy: written, from, downloads } => {
                let from = match from {
                    Files::None => Tree::default(),
                    Files::Context(number) => {
                        let context = building.context(*number)?;
                        let part = select(written, &context.tree).map_err(refused)?;
                        self.keep_part(building, context, &part)?;
                        // For whoever asks later which files changed.
                        put(self.store, &part.encode())?;
                        context.tree.clone()
                    }
                    Files::Layers(steps) => self.laid(steps, results)?.tree,
                };
                let mut got = BTreeMap::new();
                for (at, download) in downloads {
                    got.insert(*at, self.download(download)?);
                }
                copy(written, &from, &got, &below, self.store).map_err(refused)?
            }
            ImageWork::Layer { .. } | ImageWork::Downloads(_) | ImageWork::Whole { .. } => {
                Tree::default()
            }
        };
        let made = Kept { digest: put(self.store, &made.encode())?, tree: made };
        Ok(action::made(step, "image files", made))
    }

    /// Gets what `ADD` names.
    fn download(&self, what: &Download) -> Result<Downloaded, Failure> {
        Ok(match what {
            Download::File { url, sha256 } => {
                Downloaded::File(self.fetcher.fetch_url(url, &[], sha256)?)
            }
            Download::Git { repository, commit, folder } => {
                let (_, tree) = self.fetcher.fetch_git(repository, commit, true)?;
                match folder.trim_matches('/') {
                    "" => Downloaded::Tree(tree),
                    folder => match part(&tree, folder).map_err(refused)? {
                        Node::Dir(dir) => Downloaded::Tree(Tree::from(dir)),
                        _ => {
                            return Err(Failure::project(format!(
                                "`{folder}` of {repository} is no folder"
                            )));
                        }
                    },
                }
            }
        })
    }

    /// Gets a layer of a base image.
    fn base_layer(
        &self,
        building: &Building<'_>,
        base: usize,
        layer: usize,
    ) -> Result<Kept, Failure> {
        let missing = || Failure::project("the base image has no such layer".to_owned());
        let image = building.bases.get(base).ok_or_else(missing)?;
        let expected = image.layers.get(layer).ok_or_else(missing)?;
        let go_on = || !self.is_stopping();
        let watch = Watch { go_on: &go_on, ..Watch::NOBODY };
        let fetched = |error: ashlar_store::ImageError| super::failure(&error);
        let mut bytes = building.images.open_layer(image, layer, &watch).map_err(fetched)?;
        let mut keep =
            |content: &mut dyn Read| self.store.put(content).map_err(std::io::Error::other);
        let shown = || format!("layer {} of {}", layer + 1, image.shown());
        let read = read_layer(&mut bytes, &Bounds::default(), &mut keep);
        let read = read.map_err(|error| match self.is_stopping() {
            // It was cut off here, and says nothing of the layer.
            true => Failure::Stopped,
            false => Failure::Error {
                message: format!("{} cannot be used: {}", shown(), chain(&error)),
                advice: None,
                kind: ErrorKind::Build,
            },
        })?;
        if read.diff_id != expected.diff_id || read.blob != expected.digest {
            let hex = |hash| Digest { hash, size: 0 }.hex();
            return Err(Failure::Error {
                message: format!(
                    "{} has the content {} and not {}",
                    shown(),
                    hex(read.diff_id),
                    hex(expected.diff_id)
                ),
                advice: Some("the image is not what its configuration says; get it anew".into()),
                kind: ErrorKind::Build,
            });
        }
        let digest = put(self.store, &read.tree.encode())?;
        Ok(Kept { digest, tree: read.tree })
    }

    /// Layers laid over one another.
    fn laid(&self, steps: &[StepIndex], results: &Results) -> Result<Kept, Failure> {
        let layers = steps
            .iter()
            .map(|step| self.outputs(*step, results))
            .collect::<Result<Vec<Kept>, Failure>>()?;
        let tree = self.trees.merged(&layers);
        Ok(Kept { digest: tree.digest(), tree })
    }

    #[expect(clippy::too_many_arguments, reason = "all that a command in an image sees")]
    fn run_in_image(
        &self,
        step: &Step,
        building: &Building<'_>,
        run: &Run,
        files: &[Files],
        network: &Access,
        layers: Vec<Kept>,
        results: &Results,
    ) -> Result<Prepared, Failure> {
        let below = self.trees.merged(&layers);
        let user = self.user(run.user.as_deref(), &below)?;
        let mut command = Command {
            arguments: run.arguments.clone(),
            environment: run.env.iter().cloned().collect(),
            working_directory: run.directory.trim_start_matches('/').to_owned(),
            output_paths: Vec::new(),
        };
        let mut salt = CanonicalHasher::new("ashlar run in an image");
        salt.number(u64::from(user.uid)).number(u64::from(user.gid)).text(&user.home);
        salt.number(user.groups.len() as u64);
        for group in &user.groups {
            salt.number(u64::from(*group));
        }
        salt.number(match network {
            Access::None => 0,
            Access::Machine => 1,
            Access::Recorded(_) | Access::Replayed { .. } => 2,
        });
        // What a machine has already would not be recorded.
        let recording = matches!(network, Access::Recorded(_));
        let mut mounts = Vec::new();
        if let Some(script) = &run.script {
            salt.text(&script.path).text(&script.content);
            mounts.push(ImageMount {
                at: script.path.clone(),
                what: Mounted::File {
                    content: script.content.as_bytes().to_vec().into(),
                    made: Owner { mode: 0o755, uid: 0, gid: 0 },
                },
            });
        }
        let (mut secret_variables, mut held) = (HashMap::new(), Vec::new());
        let mut secrets = Vec::new();
        let mut checkpoints = Vec::new();
        for (mount, files) in run.mounts.iter().zip(files) {
            salt.text(&format!("{mount:?}"));
            match mount {
                RunMount::Bind { source, target, writable, from: _ } => {
                    let tree = self.mounted_files(building, files, source, results)?;
                    salt.bytes(&tree.tree.root_digest().hash);
                    let what = Mounted::Tree { tree, within: source.clone(), writable: *writable };
                    mounts.push(ImageMount { at: target.clone(), what });
                }
                RunMount::Cache {
                    id,
                    target,
                    from,
                    source,
                    sharing,
                    mode,
                    uid,
                    gid,
                    read_only,
                } => {
                    let mut seed = None;
                    if from.is_some() {
                        let files = self.mounted_files(building, files, source, results)?;
                        let Node::Dir(dir) = part(&files.tree, source).map_err(refused)? else {
                            return Err(Failure::project(format!(
                                "--mount=type=cache,target={target} begins with `/{source}`, which \
                                 is no folder"
                            )));
                        };
                        let tree = Tree::from(dir).with_canonical_links();
                        salt.bytes(&tree.root_digest().hash);
                        seed = Some(Kept { digest: put(self.store, &tree.encode())?, tree });
                    }
                    let made = Owner { mode: *mode, uid: *uid, gid: *gid };
                    if recording {
                        let what = match seed {
                            None => Mounted::Checkpoint { seed: None, made },
                            // What is written there is dropped, as what is in any other cache is.
                            Some(tree) => {
                                Mounted::Tree { tree, within: String::new(), writable: true }
                            }
                        };
                        mounts.push(ImageMount { at: target.clone(), what });
                        continue;
                    }
                    let cancelled = || self.is_stopping();
                    let cache = cache_mount::take(
                        &building.caches,
                        id,
                        seed.as_ref().map(|seed| &seed.digest),
                        *sharing,
                        &cancelled,
                    )?;
                    let path = cache.path.clone();
                    let what = Mounted::Folder { path, read_only: *read_only, seed, made };
                    mounts.push(ImageMount { at: target.clone(), what });
                    held.push(cache);
                }
                RunMount::Tmpfs { target, size } => {
                    mounts.push(ImageMount {
                        at: target.clone(),
                        what: Mounted::Tmpfs { size: *size },
                    });
                }
                RunMount::Secret { id, target, env, required, mode, uid, gid } => {
                    let Some(secret) = building.secrets.get(id) else {
                        if *required {
                            return Err(Failure::Error {
                                message: format!("the secret `{id}` is required and not given"),
                                advice: Some(format!("--secret id={id},src=FILE")),
                                kind: ErrorKind::Project,
                            });
                        }
                        continue;
                    };
                    secrets.push((id.clone(), secret.clone()));
                    if let Some(target) = target {
                        let made = Owner { mode: *mode, uid: *uid, gid: *gid };
                        let what = Mounted::File { content: secret.clone(), made };
                        mounts.push(ImageMount { at: target.clone(), what });
                    }
                    if let Some(name) = env {
                        let value = String::from_utf8_lossy(secret.bytes()).into_owned();
                        secret_variables.insert(name.clone(), value);
                    }
                }
                RunMount::Checkpoint { target } => checkpoints.push(target.clone()),
            }
        }
        let salt = StepKey(salt.finish()).to_string();
        let pinned = Pinned::new(network, &salt, &command, &below, &secrets)?;
        let action = match network {
            Access::Replayed { command: of, .. } => {
                action::action(step, &salted(&salt, &of.run.gets), &command, &below)
            }
            _ => action::action(step, &salt, &command, &below),
        };
        for target in checkpoints {
            let made = Owner { mode: 0o755, uid: user.uid, gid: user.gid };
            mounts.push(ImageMount { at: target, what: Mounted::Checkpoint { seed: None, made } });
        }
        // What follows is in no key.
        for (name, value) in &run.proxies {
            command.environment.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if pinned.is_some() {
            show_proxy(&mut command);
        }
        command.environment.extend(secret_variables);
        let view = ImageView {
            user,
            network: match network {
                Access::Machine => Network::Machine,
                _ => Network::None,
            },
            gateway: pinned.as_ref().map(Pinned::gateway),
            mounts,
            secrets,
            grace: building.grace,
        };
        let request = Request {
            label: step.id.to_string(),
            root: Root::Layers(layers),
            source: None,
            mounts: Vec::new(),
            command,
            keep: Keep::Changes,
            timeout: None,
            many_ids: true,
            held_jobs: None,
            view: View::Image(Box::new(view)),
        };
        Ok(Prepared { action, request: Some(request), made: None, held, pinned })
    }

    /// What a mount shows, or begins with.
    fn mounted_files(
        &self,
        building: &Building<'_>,
        files: &Files,
        source: &str,
        results: &Results,
    ) -> Result<Kept, Failure> {
        Ok(match files {
            Files::None => Kept { digest: Digest::EMPTY, tree: Tree::default() },
            Files::Context(number) => {
                let context = building.context(*number)?;
                let tree = at_its_path(&context.tree, source).map_err(refused)?;
                self.keep_part(building, context, &tree)?;
                Kept { digest: put(self.store, &tree.encode())?, tree }
            }
            Files::Layers(steps) => self.laid(steps, results)?,
        })
    }

    /// Who `USER` means in a root.
    fn user(&self, written: Option<&str>, below: &Tree) -> Result<User, Failure> {
        let (passwd, group) = (self.small(below, "etc/passwd")?, self.small(below, "etc/group")?);
        User::resolve(written.unwrap_or_default(), &passwd, &group)
            .map_err(|error| Failure::project(error.to_string()))
    }

    /// Whose folders `WORKDIR` makes under a `USER`: for a number alone the group is that number,
    /// as for `--chown` and as other builders have it, whatever group commands of that user have.
    fn owner(&self, written: Option<&str>, below: &Tree) -> Result<(u32, u32), Failure> {
        let (passwd, group) = (self.small(below, "etc/passwd")?, self.small(below, "etc/group")?);
        resolve_owner(written.unwrap_or_default(), &passwd, &group)
            .map_err(|error| Failure::project(error.to_string()))
    }

    /// A small file of a tree, following links; empty when there is none.
    fn small(&self, tree: &Tree, path: &str) -> Result<Vec<u8>, Failure> {
        let Ok(Node::File(file)) = part(tree, path) else { return Ok(Vec::new()) };
        Ok(read(self.store, &file.digest)?.unwrap_or_default())
    }
}

/// A file or folder of the context, and nothing else of it.
pub(crate) fn at_its_path(tree: &Tree, source: &str) -> Result<Tree, super::copy::CopyError> {
    let node = context_part(tree, source)?;
    let path = source.parse().unwrap_or_default();
    Ok(Tree::default().with(&path, node))
}

/// Why a layer is not kept that has a secret in it.
pub(crate) fn leaked(leak: &Leak) -> Failure {
    let Leak { secret, path } = leak;
    Failure::Error {
        message: format!("the secret `{secret}` is in /{path}: the layer is not kept"),
        advice: Some(
            "let the command read the secret and write it nowhere; files under /tmp are kept too"
                .to_owned(),
        ),
        kind: ErrorKind::Build,
    }
}

/// What an instruction asks for that cannot be done.
fn refused(error: impl std::error::Error) -> Failure {
    Failure::project(chain(&error))
}
