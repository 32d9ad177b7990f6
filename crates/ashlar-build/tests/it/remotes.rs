//! Builds beside remotes: what is asked, brought and left, and what becomes of a run when a
//! remote misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ashlar_build::{Options, StepOutcome};
use ashlar_execute::Cancel;
use ashlar_recipe::Write;
use ashlar_store::{Fault, MemoryRemote, RecordedOutcome};

use crate::world::{Beside, Seen, World, one_at_a_time, sorted};

/// A chain, and one beside it.
const MODULES: &[(&str, &str)] =
    &[("a", ": one"), ("b", "a: two"), ("c", "b: three"), ("d", ": four")];

fn beside<'a>(remotes: &[(&'a MemoryRemote, bool, Write)]) -> Beside<'a> {
    Beside { remotes: remotes.to_vec(), ..Beside::default() }
}

fn all(remote: &MemoryRemote) -> Beside<'_> {
    beside(&[(remote, true, Write::Yes)])
}

/// A remote with the results of all modules, left there by somebody else.
fn filled(name: &str) -> MemoryRemote {
    let remote = MemoryRemote::new(name);
    let seen = World::new(MODULES).build_beside(&["c", "d"], &one_at_a_time(), &all(&remote));
    assert_eq!(seen.summary.remotes[0].pushed, 4);
    remote.take_asked();
    remote
}

fn names(seen: &Seen, outcome: StepOutcome) -> Vec<&str> {
    seen.ended.iter().filter(|(_, o)| *o == outcome).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn what_somebody_built_is_found_and_only_that_is_brought() {
    let remote = filled("team");
    let world = World::new(MODULES);
    let seen = world.build_beside(&["c"], &one_at_a_time(), &all(&remote));
    assert_eq!(seen.ran, Vec::<String>::new());
    assert_eq!(seen.from, [("c".to_owned(), "team".to_owned())].into());
    let asked = remote.take_asked();
    assert_eq!(asked.steps.iter().map(Vec::len).collect::<Vec<_>>(), [1], "c alone, in one call");
    assert_eq!((asked.pulled.len(), asked.pushed.len(), asked.results.len()), (1, 0, 0));
    let tally = &seen.summary.remotes[0];
    assert_eq!((tally.pulled, tally.pushed), (1, 0));
    assert!(tally.pulled_bytes.bytes > 0);
    // It is kept here: the remote is not asked again.
    let again = world.build_beside(&["c"], &one_at_a_time(), &all(&remote));
    assert_eq!(again.from["c"], "local");
    assert_eq!(remote.take_asked().steps.len(), 0);
    // What is known of it is what its builder knew.
    let record = world.journal.last("fake", "c", "build").unwrap().unwrap();
    assert_eq!((record.outcome, record.from.as_deref()), (RecordedOutcome::Hit, Some("team")));
    assert!(record.log.is_some() && record.inputs.is_some());
    assert_eq!(record.took, Duration::from_secs(2));
}

#[test]
fn a_level_is_one_question_and_what_a_missing_step_needs_is_brought() {
    let remote = filled("team");
    let world = World::new(MODULES);
    world.module("c", "b: other");
    let seen = world.build_beside(&["c", "d"], &one_at_a_time(), &all(&remote));
    assert_eq!(seen.ran, ["c"]);
    assert_eq!(names(&seen, StepOutcome::Hit), ["a", "b", "d"], "c sees a beside b");
    let asked = remote.take_asked();
    let sizes: Vec<usize> = asked.steps.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2], "the targets, then what c mounts");
    assert_eq!(asked.pulled.len(), 3);
    assert_eq!(asked.pushed.len(), 1, "c, and nothing that came from there");
}

#[test]
fn remotes_are_asked_in_order_and_nearer_ones_keep() {
    let far = filled("far");
    let (near, readonly) = (MemoryRemote::new("near"), MemoryRemote::new("readonly"));
    let world = World::new(MODULES);
    let remotes = beside(&[
        (&near, true, Write::Yes),
        (&readonly, true, Write::No),
        (&far, true, Write::Yes),
    ]);
    let seen = world.build_beside(&["c"], &one_at_a_time(), &remotes);
    assert_eq!(seen.from["c"], "far");
    assert_eq!((near.len(), readonly.len(), far.len()), (1, 0, 4));
    assert_eq!(far.take_asked().pushed.len(), 0);
    let pushed = near.take_asked().pushed;
    let provenance = String::from_utf8(pushed[0].provenance.clone().unwrap()).unwrap();
    assert!(provenance.contains("\"startedOn\":\"2023-11-14"), "its builder's: {provenance}");
    // The next machine gets it from the nearer one.
    let next = World::new(MODULES).build_beside(&["c"], &one_at_a_time(), &remotes);
    assert_eq!(next.from["c"], "near");
    assert_eq!(far.take_asked().steps.len(), 0);
}

#[test]
fn a_remote_that_is_only_written_is_not_asked() {
    let remote = filled("nightly");
    let world = World::new(MODULES);
    let writes = beside(&[(&remote, false, Write::Yes)]);
    let seen = world.build_beside(&["c"], &one_at_a_time(), &writes);
    assert_eq!(seen.ran, ["a", "b", "c"]);
    let asked = remote.take_asked();
    assert_eq!((asked.steps.len(), asked.results.len(), asked.pushed.len()), (0, 0, 3));
    let rebuild = Options { rebuild: true, ..one_at_a_time() };
    let seen = world.build_beside(&["c"], &rebuild, &writes);
    assert_eq!((seen.ran, remote.take_asked().pushed.len()), (vec!["c".to_owned()], 1));
}

#[test]
fn an_equal_action_is_found_at_a_remote_under_another_key() {
    let remote = filled("team");
    let world = World::new(MODULES);
    world.module("a", ": one # a comment");
    let seen = world.build_beside(&["c"], &one_at_a_time(), &all(&remote));
    assert_eq!(seen.ran, ["a"]);
    assert_eq!(names(&seen, StepOutcome::Cutoff), ["b", "c"]);
    assert_eq!((seen.from["b"].as_str(), seen.from["c"].as_str()), ("team", "team"));
    // The new keys are left there, so that the next one has hits.
    let next = World::new(MODULES);
    next.module("a", ": one # a comment");
    let seen = next.build_beside(&["c"], &one_at_a_time(), &all(&remote));
    assert_eq!((seen.ran.len(), seen.from["c"].as_str()), (0, "team"));
}

#[test]
fn what_is_said_to_be_there_and_is_not_is_built() {
    let remote = filled("team");
    remote.misbehave(&[Fault::Lies]);
    let world = World::new(MODULES);
    let seen = world.build_beside(&["c"], &one_at_a_time(), &all(&remote));
    assert_eq!(seen.ran, ["a", "b", "c"]);
    assert!(seen.warnings.iter().any(|w| w.contains("lacks the blob")), "{:?}", seen.warnings);
    assert_eq!(seen.summary.remotes[0].pulled, 0);
    // A second remote has it: nothing is built.
    let honest = filled("honest");
    let both = beside(&[(&remote, true, Write::No), (&honest, true, Write::No)]);
    let seen = World::new(MODULES).build_beside(&["c"], &one_at_a_time(), &both);
    assert_eq!((seen.ran.len(), seen.from["c"].as_str()), (0, "honest"));
    let required = Beside { required: true, ..both };
    let seen = World::new(MODULES).build_beside(&["c"], &one_at_a_time(), &required);
    assert_eq!((seen.summary.hit, seen.summary.lost.len()), (1, 0));
}

#[test]
fn a_dead_remote_costs_one_wait_and_one_warning() {
    let remote = MemoryRemote::new("dead");
    remote.misbehave(&[Fault::Unreachable(Duration::from_millis(300))]);
    let began = Instant::now();
    let seen = World::new(MODULES).build_beside(&["c", "d"], &one_at_a_time(), &all(&remote));
    assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(seen.ran.len(), 4);
    let expected = "remote dead is not used any more in this run: memory:dead does not answer: \
                    timed out";
    assert_eq!(seen.warnings, [expected]);
    let tally = &seen.summary.remotes[0];
    assert_eq!((tally.failed, tally.gone.is_some()), (4, true));
    let asked = remote.take_asked();
    assert_eq!((asked.steps.len(), asked.results.len()), (1, 0));
}

#[test]
fn a_remote_that_refuses_or_talks_nonsense_is_done_without() {
    let remote = filled("team");
    for (fault, said) in [
        (
            Fault::RefusesReading,
            "remote team is not read any more in this run: memory:team refuses",
        ),
        (Fault::AnswersWrongly, "remote team: memory:team answers wrongly to a search"),
    ] {
        remote.misbehave(&[fault]);
        let reads = beside(&[(&remote, true, Write::No)]);
        let seen = World::new(MODULES).build_beside(&["c"], &one_at_a_time(), &reads);
        assert_eq!(seen.ran, ["a", "b", "c"]);
        assert_eq!(seen.warnings.len(), 1, "{:?}", seen.warnings);
        assert!(seen.warnings[0].starts_with(said), "{:?}", seen.warnings);
        assert!(seen.summary.failures.is_empty());
    }
    // Who may not write may still read.
    remote.misbehave(&[Fault::RefusesWriting]);
    let world = World::new(MODULES);
    world.module("c", "b: other");
    let seen = world.build_beside(&["c"], &one_at_a_time(), &all(&remote));
    assert_eq!((seen.ran.len(), seen.from["b"].as_str()), (1, "team"));
    assert_eq!(seen.summary.remotes[0].failed, 1);
    assert!(seen.warnings[0].starts_with("nothing more is pushed to remote team in this run"));
}

#[test]
fn required_remotes_fail_the_run_instead_of_a_silent_rebuild() {
    let remote = filled("team");
    for fault in [
        Fault::Unreachable(Duration::ZERO),
        Fault::RefusesReading,
        Fault::AnswersWrongly,
        Fault::Lies,
    ] {
        remote.misbehave(&[fault]);
        let required = Beside { required: true, ..all(&remote) };
        let seen = World::new(MODULES).build_beside(&["c"], &one_at_a_time(), &required);
        assert_eq!(seen.ran, Vec::<String>::new(), "{fault:?}");
        assert_eq!(seen.summary.lost.len(), 1, "{fault:?}: {:?}", seen.summary.lost);
        assert_eq!((seen.summary.hit, seen.summary.built), (0, 0));
        assert!(sorted(&seen).values().all(|outcome| *outcome == StepOutcome::Skipped));
    }
    // What is here needs no remote, and a remote without the result is a miss and no failure.
    let world = World::new(MODULES);
    world.build(&["c"], &one_at_a_time());
    let required = Beside { required: true, ..all(&remote) };
    assert_eq!(world.build_beside(&["c"], &one_at_a_time(), &required).summary.hit, 1);
    remote.misbehave(&[]);
    let other = World::new(&[("new", ": new")]);
    assert_eq!(other.build_beside(&["new"], &one_at_a_time(), &required).summary.built, 1);
}

#[test]
fn a_remote_that_goes_in_the_middle_of_a_required_run_ends_it() {
    let remote = filled("team");
    let world = World::new(MODULES);
    world.module("a", ": changed");
    let began = |name: &str, _: &Cancel| {
        if name == "a" {
            remote.misbehave(&[Fault::Unreachable(Duration::ZERO)]);
        }
    };
    let beside = Beside { required: true, began: Some(&began), ..all(&remote) };
    let seen = world.build_beside(&["c"], &one_at_a_time(), &beside);
    assert_eq!(seen.ran, Vec::<String>::new());
    assert_eq!((seen.summary.failed, seen.summary.skipped), (1, 2));
    assert_eq!(world.journal.failures(&seen.summary.failures[0].key).unwrap(), 0);
}

#[test]
fn pushing_delays_no_step_and_is_drained_at_the_end() {
    let remote = MemoryRemote::new("slow");
    remote.misbehave(&[Fault::Slow(Duration::from_millis(100))]);
    let began = |name: &str, _: &Cancel| {
        if name == "c" {
            assert!(remote.len() < 2, "c waited until b was sent");
        }
    };
    let beside = Beside { began: Some(&began), ..all(&remote) };
    let seen = World::new(MODULES).build_beside(&["c", "d"], &one_at_a_time(), &beside);
    assert_eq!((seen.summary.remotes[0].pushed, remote.len()), (4, 4));
}

#[test]
fn a_stopped_run_sends_what_is_finished_within_its_time() {
    let remote = MemoryRemote::new("slow");
    remote.misbehave(&[Fault::Slow(Duration::from_millis(300))]);
    let stop = |name: &str, cancel: &Cancel| {
        if name == "b" {
            cancel.cancel();
        }
    };
    let beside = Beside { began: Some(&stop), ..all(&remote) };
    let world = World::new(MODULES);
    let seen = world.build_beside(&["c"], &one_at_a_time(), &beside);
    assert!(seen.summary.cancelled && seen.summary.skipped > 0);
    let built = seen.summary.built;
    assert_eq!((seen.summary.remotes[0].pushed, remote.len()), (built, built));
    // Longer than there is time for: given up, and said.
    let remote = MemoryRemote::new("stalls");
    remote.misbehave(&[Fault::Slow(Duration::from_secs(600))]);
    let beside = Beside { began: Some(&stop), ..all(&remote) };
    let began = Instant::now();
    let seen = World::new(MODULES).build_beside(&["c"], &one_at_a_time(), &beside);
    assert!(began.elapsed() < ashlar_build::PATIENCE + Duration::from_secs(2));
    assert_eq!(seen.summary.remotes[0].unsent, seen.summary.built);
}

#[test]
fn what_a_killed_run_did_not_send_is_sent_by_push() {
    let world = World::new(MODULES);
    world.build(&["c", "d"], &one_at_a_time());
    let remote = MemoryRemote::new("team");
    // A run with everything here sends nothing: it would ask about a thousand results each time.
    world.build_beside(&["c", "d"], &one_at_a_time(), &all(&remote));
    assert_eq!(remote.len(), 0);
    let transfer = world.push(&["c"], &all(&remote));
    assert_eq!((transfer.results, remote.len()), (3, 3));
    assert_eq!((transfer.remotes[0].pushed, transfer.missing.len()), (3, 0));
    let transfer = World::new(MODULES).push(&["c"], &all(&remote));
    assert_eq!((transfer.results, transfer.missing[0].module.as_str()), (0, "c"));
}

#[test]
fn pull_brings_targets_or_everything_beneath() {
    let remote = filled("team");
    let world = World::new(MODULES);
    let transfer = world.pull(&["c"], &all(&remote), false);
    assert_eq!((transfer.results, transfer.here, transfer.remotes[0].pulled), (1, 0, 1));
    let transfer = world.pull(&["c"], &all(&remote), true);
    assert_eq!((transfer.results, transfer.here, transfer.remotes[0].pulled), (3, 1, 2));
    assert_eq!(world.build(&["a", "b", "c"], &one_at_a_time()).summary.hit, 3);
    let other = World::new(&[("new", ": new")]);
    assert_eq!(other.pull(&["new"], &all(&remote), false).missing[0].module, "new");
    remote.misbehave(&[Fault::Lies]);
    let transfer = World::new(MODULES).pull(&["c"], &all(&remote), false);
    assert_eq!((transfer.remotes[0].pulled, transfer.missing.len()), (0, 1));
}

#[test]
fn earlier_revisions_and_provenance_go_with_a_result() {
    let remote = MemoryRemote::new("team");
    let world = World::new(MODULES);
    let beside = all(&remote);
    world.build_beside(&["c"], &one_at_a_time(), &beside);
    let first = remote.take_asked().pushed;
    let c = first.iter().find(|p| p.lineage == "fake/c/build").unwrap();
    assert_eq!(c.earlier, []);
    world.module("c", "b: other");
    world.build_beside(&["c"], &one_at_a_time(), &beside);
    let second = remote.take_asked().pushed.pop().unwrap();
    assert_eq!(
        (second.lineage.as_str(), &*second.earlier),
        ("fake/c/build", &[c.result.outputs][..])
    );
    let text = String::from_utf8(second.provenance.unwrap()).unwrap();
    for part in [
        r#""buildType":"urn:ashlar:step:v1""#,
        r#""module":"c""#,
        r#""name":"dependency b""#,
        r#""id":"ashlar/"#,
        r#""finishedOn":"2023-11-14T22:13:22Z""#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // A machine that brought the first one knows it as an earlier one.
    let other = World::new(MODULES);
    other.build_beside(&["c"], &one_at_a_time(), &beside);
    other.module("c", "b: third");
    other.build_beside(&["c"], &one_at_a_time(), &beside);
    let third = remote.take_asked().pushed.pop().unwrap();
    assert_eq!(third.earlier, [c.result.outputs]);
}

#[test]
fn only_clean_results_leave_where_that_is_asked() {
    let world = World::new(&[]);
    let remote = MemoryRemote::new("team");
    let clean = beside(&[(&remote, true, Write::Clean)]);
    let module = |name: &str, depends: &str| {
        world.write(
            &format!("modules/{name}.toml"),
            &format!(
                "depends = [{depends}]\n[source]\npath = \"src/{name}\"\n[build]\nkind = \
                 \"script\"\nsteps = [': {name}']\n"
            ),
        );
        world.write(&format!("src/{name}/file"), name);
    };
    module("a", "");
    module("b", "\"a\"");
    module("other", "");
    world.commit();
    world.write("src/a/file", "changed");
    let seen = world.build_beside(&["b", "other"], &one_at_a_time(), &clean);
    let tally = &seen.summary.remotes[0];
    assert_eq!((tally.pushed, tally.unclean, tally.failed), (1, 2, 0));
    let pushed = remote.take_asked().pushed;
    assert_eq!(pushed[0].lineage, "fake/other/build");
    world.commit();
    assert_eq!(world.push(&["b", "other"], &clean).remotes[0].pushed, 3);
}

#[test]
fn the_machines_own_files_never_leave_nor_come() {
    let world = World::new(&[("a", ": one")]);
    world.write(
        "ashlar.toml",
        "[project]\nname = \"fake\"\n[base.none]\npath = \"root\"\n[base.here]\nhost = true\n",
    );
    world.write("modules/a.toml", "base = \"here\"\n[build]\nkind = \"script\"\nsteps = ['a']\n");
    world.write(
        "modules/b.toml",
        "base = \"none\"\ndepends = [\"a\"]\n[build]\nkind = \"script\"\nsteps = ['b']\n",
    );
    let remote = MemoryRemote::new("team");
    let seen = world.build_beside(&["b"], &one_at_a_time(), &all(&remote));
    assert_eq!(seen.summary.built, 2);
    let transfers = [world.push(&["b"], &all(&remote)), world.pull(&["b"], &all(&remote), false)];
    for transfer in transfers {
        assert_eq!((transfer.unshared[0].module.as_str(), transfer.results), ("b", 0));
    }
    let asked = remote.take_asked();
    assert!(asked.steps.iter().all(Vec::is_empty) && asked.results.is_empty(), "{asked:?}");
    assert_eq!(remote.len(), 0);
}

#[test]
fn a_change_that_is_undone_while_it_is_built_stays_here() {
    let world = World::new(&[]);
    world.write(
        "modules/a.toml",
        "[source]\npath = \"src\"\n[build]\nkind = \"script\"\nsteps = [': a']\n",
    );
    world.write("src/file", "1");
    world.commit();
    world.write("src/file", "changed");
    let remote = MemoryRemote::new("team");
    // What the step reads was taken before it begins.
    let undo = |name: &str, cancel: &Cancel| {
        if name == "a" && !cancel.is_cancelled() {
            world.write("src/file", "1");
        }
    };
    let clean = beside(&[(&remote, true, Write::Clean)]);
    let clean = Beside { ended: Some(&undo), ..clean };
    let seen = world.build_beside(&["a"], &one_at_a_time(), &clean);
    assert_eq!((seen.ran.len(), remote.len()), (1, 0));
    assert_eq!(seen.summary.remotes[0].unclean, 1);
    // One that is committed meanwhile is one that others have.
    world.write("src/file", "changed again");
    let commit = |name: &str, _: &Cancel| {
        if name == "a" {
            world.commit();
        }
    };
    let clean = Beside { ended: Some(&commit), ..clean };
    let seen = world.build_beside(&["a"], &one_at_a_time(), &clean);
    assert_eq!((seen.ran.len(), seen.summary.remotes[0].pushed), (1, 1));
    // The same of a patch, a common file and a base.
    let text = "[project]\nname = \"fake\"\ncommon = [\"common\"]\n[base.none]\npath = \"root\"\n";
    world.write("ashlar.toml", text);
    world.write(
        "modules/a.toml",
        "[source]\npath = \"src\"\npatches = [\"p.patch\"]\n[build]\nkind = \"script\"\nsteps = [': b']\n",
    );
    let patch = |text: &str| {
        format!(
            "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-changed again\n\\ No newline at end of file\n+{text}\n"
        )
    };
    world.write("common", "1");
    world.write("p.patch", &patch("1"));
    world.commit();
    for (path, before, changed) in [
        ("p.patch", patch("1"), patch("2")),
        ("common", "1".to_owned(), "2".to_owned()),
        ("root/here", String::new(), "2".to_owned()),
    ] {
        world.write(path, &changed);
        // Its source is the first that ends, when the base is still to be read.
        let ended = AtomicUsize::new(0);
        let undo = |name: &str, _: &Cancel| {
            if name == "a" && ended.fetch_add(1, Ordering::Relaxed) == 1 {
                world.write(path, &before);
            }
        };
        let clean = Beside { ended: Some(&undo), ..beside(&[(&remote, true, Write::Clean)]) };
        let seen = world.build_beside(&["a"], &one_at_a_time(), &clean);
        let tally = &seen.summary.remotes[0];
        assert_eq!((tally.pushed, tally.unclean), (0, 1), "{path} {:?}", seen.ended);
    }
}

#[test]
fn what_was_not_sent_is_sent_when_it_has_to_be() {
    let remote = MemoryRemote::new("team");
    let world = World::new(MODULES);
    world.build(&["c"], &one_at_a_time());
    let required = Options { push_found: true, ..one_at_a_time() };
    let seen = world.build_beside(&["c"], &required, &all(&remote));
    assert_eq!((seen.ran.len(), seen.summary.remotes[0].pushed), (0, 3));
    remote.misbehave(&[Fault::RefusesWriting]);
    let seen = world.build_beside(&["c"], &required, &all(&remote));
    assert_eq!(seen.summary.remotes[0].failed, 3);
}

#[test]
fn provenance_is_asked_of_remotes_that_are_there_and_never_made_up() {
    let far = filled("far");
    let world = World::new(MODULES);
    world.build_beside(&["c"], &one_at_a_time(), &all(&far));
    let near = MemoryRemote::new("near");
    let provenance = |remotes: &[(&MemoryRemote, bool, Write)]| {
        world.push(&["c"], &beside(remotes));
        near.take_asked().pushed[0].provenance.clone()
    };
    assert!(provenance(&[(&near, false, Write::Yes), (&far, true, Write::No)]).is_some());
    assert_eq!(provenance(&[(&near, false, Write::Yes), (&far, false, Write::No)]), None);
    assert_eq!(provenance(&[(&near, false, Write::Yes)]), None, "it was built elsewhere");
}

#[test]
fn a_project_says_who_builds() {
    let remote = MemoryRemote::new("team");
    let world = World::new(&[("a", ": one")]);
    let text = "[project]\nname = \"fake\"\nbuilder = \"https://me:x@ci.example/main\"\n[base.none]\npath = \"root\"\n";
    world.write("ashlar.toml", text);
    world.build_beside(&["a"], &one_at_a_time(), &all(&remote));
    let provenance = remote.take_asked().pushed.pop().unwrap().provenance.unwrap();
    let provenance = String::from_utf8(provenance).unwrap();
    assert!(provenance.contains(r#""builder":{"id":"https://ci.example/main"}"#), "{provenance}");
}
