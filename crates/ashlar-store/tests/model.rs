//! The local store does what a few maps in memory do, whatever is asked of it in what order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ashlar_object::{ActionResult, Digest, StepKey, Time, Tree};
use ashlar_store::{
    Capture, Checkout, Found, Limits, LocalStore, OpenOptions, Store, StoreError, put, read,
};
use proptest::prelude::*;

/// One thing that is asked. Numbers choose among a few contents, actions and keys, so that they
/// meet.
#[derive(Clone, Debug)]
enum Ask {
    Put(u8),
    Keep { files: Vec<(u8, bool)>, action: u8 },
    Step { key: u8, action: u8 },
    Read(u8),
    Look,
    Stage(u8),
    CheckOut(u8),
    Delete(u8),
    Truncate(u8),
    Collect,
    Verify,
    Reopen,
}

fn ask() -> impl Strategy<Value = Ask> {
    let few = 0..6_u8;
    prop_oneof![
        2 => few.clone().prop_map(Ask::Put),
        6 => (prop::collection::vec((0..6_u8, any::<bool>()), 0..5), few.clone())
            .prop_map(|(files, action)| Ask::Keep { files, action }),
        3 => (few.clone(), few.clone()).prop_map(|(key, action)| Ask::Step { key, action }),
        2 => few.clone().prop_map(Ask::Read),
        4 => Just(Ask::Look),
        3 => few.clone().prop_map(Ask::Stage),
        1 => few.clone().prop_map(Ask::CheckOut),
        1 => few.clone().prop_map(Ask::Delete),
        1 => few.prop_map(Ask::Truncate),
        1 => Just(Ask::Collect),
        1 => Just(Ask::Verify),
        1 => Just(Ask::Reopen),
    ]
}

fn content(number: u8) -> Vec<u8> {
    // 0 is the empty blob, which is always there.
    format!("content {number}").into_bytes().repeat(usize::from(number) * 40)
}

#[derive(Default)]
struct Model {
    blobs: BTreeSet<Digest>,
    results: BTreeMap<u8, (ActionResult, Tree)>,
    steps: BTreeMap<u8, u8>,
}

impl Model {
    fn has(&self, digest: &Digest) -> bool {
        *digest == Digest::EMPTY || self.blobs.contains(digest)
    }

    fn result(&self, action: u8) -> Option<&ActionResult> {
        let (result, tree) = self.results.get(&action)?;
        let mut needs = tree.blobs();
        needs.extend([result.outputs, result.log]);
        needs.iter().all(|digest| self.has(digest)).then_some(result)
    }
}

fn action(number: u8) -> Digest {
    Digest::of(&[b'a', number])
}

fn key(number: u8) -> StepKey {
    StepKey([number; 32])
}

struct World {
    dir: tempfile::TempDir,
    store: Option<LocalStore>,
    model: Model,
    serial: u32,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, store: None, model: Model::default(), serial: 0 };
        world.open();
        world
    }

    fn open(&mut self) {
        self.store = None;
        let options = OpenOptions { owner_base: 0, read_only: false };
        self.store = Some(LocalStore::open(&self.dir.path().join("store"), options).unwrap());
    }

    fn store(&self) -> &LocalStore {
        self.store.as_ref().unwrap()
    }

    fn fresh(&mut self, name: &str) -> std::path::PathBuf {
        self.serial += 1;
        self.dir.path().join(format!("{name}{}", self.serial))
    }

    fn files_of(&self, digest: &Digest) -> Vec<std::path::PathBuf> {
        let plain = self.store().path().join("blobs").join(&digest.hex()[..2]).join(digest.hex());
        let executable = plain.with_extension("x");
        [plain, executable].into_iter().filter(|path| path.exists()).collect()
    }

    fn ask(&mut self, ask: &Ask) {
        match ask {
            Ask::Put(number) => {
                let digest = put(self.store(), &content(*number)).unwrap();
                assert_eq!(digest, Digest::of(&content(*number)));
                self.model.blobs.insert(digest);
            }
            Ask::Keep { files, action } => self.keep(files, *action),
            Ask::Step { key: number, action: to } => {
                self.store().put_step(&key(*number), &action(*to)).unwrap();
                self.model.steps.insert(*number, *to);
            }
            Ask::Read(number) => {
                let digest = Digest::of(&content(*number));
                let expected = self.model.has(&digest).then(|| content(*number));
                assert_eq!(read(self.store(), &digest).unwrap(), expected);
            }
            Ask::Look => self.look(),
            Ask::Stage(number) => self.stage(*number),
            Ask::CheckOut(number) => {
                let dest = self.fresh("out");
                if self.model.result(*number).is_some() {
                    let (_, tree) = &self.model.results[number];
                    self.store().check_out(tree, &dest, Checkout::Copy, false).unwrap();
                    check_files(tree, &dest);
                }
            }
            Ask::Delete(number) | Ask::Truncate(number) => {
                let digest = Digest::of(&content(*number));
                for path in self.files_of(&digest) {
                    match ask {
                        Ask::Delete(_) => std::fs::remove_file(path).unwrap(),
                        _ if digest == Digest::EMPTY => {}
                        _ => std::fs::File::options()
                            .write(true)
                            .open(path)
                            .unwrap()
                            .set_len(1)
                            .unwrap(),
                    }
                }
                self.model.blobs.remove(&digest);
                // One process looks at a staged tree once, however many steps use it: what is
                // damaged after that look is for the next process to find.
                self.open();
            }
            Ask::Collect => self.collect(),
            Ask::Verify => {
                self.store().verify(true, &|_, _| {}).unwrap();
                let model = &mut self.model;
                let whole: BTreeSet<u8> = (0..6).filter(|a| model.result(*a).is_some()).collect();
                model.results.retain(|action, _| whole.contains(action));
                assert!(self.store().verify(false, &|_, _| {}).unwrap().is_clean());
            }
            Ask::Reopen => self.open(),
        }
    }

    fn keep(&mut self, files: &[(u8, bool)], number: u8) {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.fresh("folder");
        std::fs::create_dir_all(folder.join("below")).unwrap();
        for (index, (file, executable)) in files.iter().enumerate() {
            let path =
                folder.join(if index % 2 == 0 { "below" } else { "." }).join(index.to_string());
            std::fs::write(&path, content(*file)).unwrap();
            let mode = if *executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let (outputs, tree) = self.store().keep_folder(&folder, Capture::Outputs).unwrap();
        check_tree(files, &tree);
        let log = put(self.store(), &content(5)).unwrap();
        let result = ActionResult {
            outputs,
            root: tree.root_digest(),
            log,
            started: Time { seconds: 1, nanos: 2 },
            took: Duration::from_millis(3),
        };
        self.store().put_result(&action(number), &result).unwrap();
        self.model.blobs.extend(tree.blobs());
        self.model.blobs.extend([outputs, log]);
        self.model.results.insert(number, (result, tree));
    }

    fn look(&self) {
        for number in 0..6 {
            let found = self.store().result(&action(number)).unwrap();
            assert_eq!(found.as_ref(), self.model.result(number), "action {number}");
        }
        let keys: Vec<_> = (0..6).map(key).collect();
        let expected: Vec<_> = (0..6)
            .map(|number| {
                let to = *self.model.steps.get(&number)?;
                let result = self.model.result(to)?.clone();
                Some(Found { action: action(to), result })
            })
            .collect();
        assert_eq!(self.store().steps(&keys).unwrap(), expected);
        let all: Vec<_> = (0..6).map(|number| Digest::of(&content(number))).collect();
        let expected: Vec<_> = all.iter().filter(|d| !self.model.has(d)).copied().collect();
        assert_eq!(self.store().missing(&all).unwrap(), expected);
    }

    fn stage(&mut self, number: u8) {
        let Some((result, tree)) = self.model.results.get(&number) else { return };
        let complete = self.model.result(number).is_some();
        match self.store().stage(&result.outputs, tree) {
            Ok(staged) => {
                // A staged tree may outlive blobs that were deleted, never one that was changed.
                check_files(tree, staged.path());
            }
            Err(StoreError::Missing(_)) => assert!(!complete),
            Err(e) => panic!("{e}"),
        }
    }

    fn collect(&mut self) {
        // As another process would, after this one has ended.
        self.open();
        self.store().collect(Limits::default()).unwrap();
        let mut kept = BTreeSet::new();
        for (result, tree) in self.model.results.values() {
            kept.extend(tree.blobs());
            kept.extend([result.outputs, result.log]);
        }
        self.model.blobs.retain(|digest| kept.contains(digest));
        // A step to a result that never was goes only together with some result, if at all; in
        // both cases it leads nowhere.
    }
}

fn check_tree(files: &[(u8, bool)], tree: &Tree) {
    let mut found = 0;
    tree.walk(|entry| {
        if let ashlar_object::Node::File(file) = entry.node {
            let index: usize = entry.path.names().last().unwrap().to_string().parse().unwrap();
            assert_eq!(file.digest, Digest::of(&content(files[index].0)));
            assert_eq!(file.meta.mode == 0o755, files[index].1);
            found += 1;
        }
    });
    assert_eq!(found, files.len());
}

fn check_files(tree: &Tree, at: &std::path::Path) {
    tree.walk(|entry| {
        if let ashlar_object::Node::File(file) = entry.node {
            let bytes = std::fs::read(entry.path.under(at)).unwrap();
            assert_eq!(Digest::of(&bytes), file.digest, "{}", entry.path);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(asks in prop::collection::vec(ask(), 1..32)) {
        let mut world = World::new();
        for ask in &asks {
            world.ask(ask);
        }
        world.look();
    }
}
