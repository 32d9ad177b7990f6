//! On which branch a job works: what each kind of CI says in the environment, else what git says.
//!
//! A pull request is `pr-NUMBER`, never the name of the branch that it comes from: whoever has a
//! fork may call a branch there `main`. Where a job is of a pull request and its number is not
//! known, no branch is.
//!
//! `ASHLAR_BRANCH` says it where none of them does, and wins.
//!
//! | CI | documented at |
//! |---|---|
//! | GitHub (and Gitea, Forgejo) | "Variables reference": `GITHUB_REF`, `GITHUB_BASE_REF`, `GITHUB_EVENT_PATH` |
//! | GitLab | "Predefined CI/CD variables reference" |
//! | CircleCI | "Project values and variables": `CIRCLE_BRANCH` is `pull/NUMBER` for forks |
//! | Jenkins | Multibranch: `CHANGE_ID`, `CHANGE_TARGET`, `BRANCH_NAME`; the plugins ghprb and gitlab |
//! | Tekton | nothing of its own; Pipelines-as-Code fills in `{{ … }}`, see `docs/cache.md` |

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The branch of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// Its name, `pr-NUMBER` for a pull request; `None` when it is not known.
    pub name: Option<String>,
    /// The branch that a pull request goes to.
    pub base: Option<String>,
    /// Who says so, for people.
    pub from: &'static str,
}

/// A variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Branch {
    /// Finds out. `env` gives variables of the environment, `root` is the folder of the workspace.
    #[must_use]
    pub fn detect(env: Variable<'_>, root: &Path) -> Self {
        let set = |name: &str| {
            // What Pipelines-as-Code does not know it leaves as it is.
            let value = env(name)?.trim().to_owned();
            (!value.is_empty() && !value.starts_with("{{")).then_some(value)
        };
        let known = [told, github, gitlab, circle, jenkins, tekton];
        known.iter().find_map(|ci| ci(&set)).unwrap_or_else(|| git(root))
    }
}

type Set<'a> = &'a dyn Fn(&str) -> Option<String>;

fn pull_request(number: Option<String>, base: Option<String>, from: &'static str) -> Branch {
    let number = number.filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    Branch { name: number.map(|n| format!("pr-{n}")), base: base.map(|b| plain(&b)), from }
}

fn branch(name: Option<String>, from: &'static str) -> Branch {
    Branch { name: name.map(|name| plain(&name)), base: None, from }
}

/// The name of a branch without what refs have before it. A tag is none, and is called so.
fn plain(name: &str) -> String {
    if let Some(tag) = name.strip_prefix("refs/tags/") {
        return format!("tag-{tag}");
    }
    name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()
}

/// `refs/pull/7/merge`, `pull/7/head`, `pull/7`.
fn number_of(name: &str) -> Option<String> {
    let rest = name.strip_prefix("refs/").unwrap_or(name).strip_prefix("pull/")?;
    let number = rest.split('/').next()?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.to_owned())
}

fn told(set: Set<'_>) -> Option<Branch> {
    Some(branch(Some(set("ASHLAR_BRANCH")?), "ASHLAR_BRANCH"))
}

fn github(set: Set<'_>) -> Option<Branch> {
    let from = "GitHub";
    set("GITHUB_ACTIONS").filter(|is| is == "true")?;
    let event: Value = set("GITHUB_EVENT_PATH")
        .and_then(|path| std::fs::read(path).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let number = |pointer: &str| event.pointer(pointer).and_then(Value::as_u64);
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    // The event knows, and GITHUB_REF only for some: for `pull_request_target` it is the branch
    // that the pull request goes to, while what is built may be the pull request.
    let of_event = number("/pull_request/number")
        .or_else(|| event.pointer("/issue/pull_request").and(number("/issue/number")))
        .map(|number| number.to_string());
    let head = set("GITHUB_REF").unwrap_or_default();
    let of_ref = number_of(&head);
    let base = set("GITHUB_BASE_REF").or_else(|| text("/pull_request/base/ref"));
    let is_one = set("GITHUB_HEAD_REF").is_some()
        || set("GITHUB_EVENT_NAME").is_some_and(|name| name.starts_with("pull_request"));
    if is_one || of_event.is_some() || of_ref.is_some() {
        return Some(pull_request(of_event.or(of_ref), base, from));
    }
    let mut found = branch((!head.is_empty()).then_some(head), from);
    found.base = text("/merge_group/base_ref").map(|base| plain(&base));
    Some(found)
}

fn gitlab(set: Set<'_>) -> Option<Branch> {
    let from = "GitLab";
    set("GITLAB_CI")?;
    for (number, target) in [
        ("CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
        ("CI_EXTERNAL_PULL_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"),
    ] {
        if let Some(number) = set(number) {
            return Some(pull_request(Some(number), set(target), from));
        }
    }
    let tag = set("CI_COMMIT_TAG").map(|tag| format!("tag-{tag}"));
    Some(branch(set("CI_COMMIT_BRANCH").or(tag), from))
}

/// A job belongs to a branch, whether a pull request is open for it or not; only that of a fork is
/// called by its number.
fn circle(set: Set<'_>) -> Option<Branch> {
    let from = "CircleCI";
    set("CIRCLECI")?;
    let name = set("CIRCLE_BRANCH");
    let number = set("CIRCLE_PR_NUMBER").or_else(|| number_of(name.as_deref()?));
    if number.is_some() || set("CIRCLE_PR_USERNAME").is_some() {
        return Some(pull_request(number, None, from));
    }
    let tag = set("CIRCLE_TAG").map(|tag| format!("tag-{tag}"));
    Some(branch(name.or(tag), from))
}

fn jenkins(set: Set<'_>) -> Option<Branch> {
    let from = "Jenkins";
    set("JENKINS_URL")?;
    for (number, target) in [
        ("CHANGE_ID", "CHANGE_TARGET"),
        ("ghprbPullId", "ghprbTargetBranch"),
        ("gitlabMergeRequestIid", "gitlabTargetBranch"),
    ] {
        if let Some(number) = set(number) {
            return Some(pull_request(Some(number), set(target), from));
        }
    }
    let tag = set("TAG_NAME").map(|tag| format!("tag-{tag}"));
    let name = tag.or_else(|| set("BRANCH_NAME")).or_else(|| set("GIT_LOCAL_BRANCH"));
    let far = || set("GIT_BRANCH").map(|name| name.trim_start_matches("origin/").to_owned());
    Some(branch(name.or_else(far), from))
}

fn tekton(set: Set<'_>) -> Option<Branch> {
    let from = "Tekton";
    let (source, target) = (set("PAC_SOURCE_BRANCH"), set("PAC_TARGET_BRANCH"));
    let (number, event) = (set("PAC_PULL_REQUEST_NUMBER"), set("PAC_EVENT_TYPE"));
    if source.is_none() && target.is_none() && number.is_none() && event.is_none() {
        return None;
    }
    let is_one = event.is_some_and(|event| event.contains("pull") || event.contains("merge"));
    if number.is_some() || is_one {
        return Some(pull_request(number, target, from));
    }
    // What was pushed, for which both are the same.
    Some(branch(source.or(target), from))
}

/// What is checked out, if that is a branch.
fn git(root: &Path) -> Branch {
    let from = "git";
    let repository = root.ancestors().find(|above| above.join(".git").exists());
    let head = repository.and_then(|repository| {
        let git = repository.join(".git");
        let folder: PathBuf = match std::fs::read_to_string(&git) {
            // A work tree or a submodule: the file says where its folder is.
            Ok(text) => repository.join(text.strip_prefix("gitdir:")?.trim()),
            Err(_) => git,
        };
        let head = std::fs::read_to_string(folder.join("HEAD")).ok()?;
        Some(head.trim().strip_prefix("ref: refs/heads/")?.to_owned())
    });
    branch(head, from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(variables: &[(&str, &str)]) -> (Option<String>, Option<String>, &'static str) {
        let all: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let env = |name: &str| all.get(name).map(|value| (*value).to_owned());
        let found = Branch::detect(&env, Path::new("/nonexistent"));
        (found.name, found.base, found.from)
    }

    fn is(
        name: &str,
        base: &str,
        from: &'static str,
    ) -> (Option<String>, Option<String>, &'static str) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (text(name), text(base), from)
    }

    #[test]
    fn github_knows_branches_tags_and_pull_requests() {
        let push = [("GITHUB_ACTIONS", "true"), ("GITHUB_REF", "refs/heads/feature/x")];
        assert_eq!(of(&push), is("feature/x", "", "GitHub"));
        let tag = [("GITHUB_ACTIONS", "true"), ("GITHUB_REF", "refs/tags/v1")];
        assert_eq!(of(&tag), is("tag-v1", "", "GitHub"));
        // A fork that calls its branch `main`.
        let fork = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", "pull_request"),
            ("GITHUB_REF", "refs/pull/12/merge"),
            ("GITHUB_HEAD_REF", "main"),
            ("GITHUB_BASE_REF", "main"),
        ];
        assert_eq!(of(&fork), is("pr-12", "main", "GitHub"));
    }

    #[test]
    fn who_is_told_asks_nobody() {
        let push = [("GITHUB_ACTIONS", "true"), ("GITHUB_REF", "refs/heads/feature/x")];
        let told = ("ASHLAR_BRANCH", "main");
        assert_eq!(of(&[told, push[0], push[1]]), is("main", "", "ASHLAR_BRANCH"));
        assert_eq!(of(&[("ASHLAR_BRANCH", " "), push[0], push[1]]).2, "GitHub");
    }

    #[test]
    fn github_events_say_more_than_the_ref() {
        let dir = tempfile::tempdir().unwrap();
        let event = dir.path().join("event.json");
        let with = |json: &str, name: &str, head: &str| {
            std::fs::write(&event, json).unwrap();
            of(&[
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_EVENT_NAME", name),
                ("GITHUB_EVENT_PATH", event.to_str().unwrap()),
                ("GITHUB_REF", "refs/heads/main"),
                ("GITHUB_HEAD_REF", head),
            ])
        };
        // Runs with the rights of main, over the files of whoever asks.
        let target = r#"{"pull_request": {"number": 7, "base": {"ref": "main"}}}"#;
        assert_eq!(with(target, "pull_request_target", "main"), is("pr-7", "main", "GitHub"));
        let comment = r#"{"issue": {"number": 9, "pull_request": {"url": "x"}}}"#;
        assert_eq!(with(comment, "issue_comment", ""), is("pr-9", "", "GitHub"));
        let plain = r#"{"issue": {"number": 9}}"#;
        assert_eq!(with(plain, "issue_comment", ""), is("main", "", "GitHub"));
        // No number: no branch, and not that of the fork or of the ref either.
        assert_eq!(with("no json", "pull_request_target", "main"), is("", "", "GitHub"));
        let queue = r#"{"merge_group": {"base_ref": "refs/heads/main"}}"#;
        assert_eq!(with(queue, "merge_group", ""), is("main", "main", "GitHub"));
    }

    #[test]
    fn gitlab_knows_branches_tags_and_merge_requests() {
        let ci = ("GITLAB_CI", "true");
        assert_eq!(of(&[ci, ("CI_COMMIT_BRANCH", "main")]), is("main", "", "GitLab"));
        assert_eq!(of(&[ci, ("CI_COMMIT_TAG", "v1")]), is("tag-v1", "", "GitLab"));
        let merge = [
            ci,
            ("CI_MERGE_REQUEST_IID", "3"),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "main"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "stable"),
        ];
        assert_eq!(of(&merge), is("pr-3", "stable", "GitLab"));
    }

    #[test]
    fn circle_knows_forks() {
        let ci = ("CIRCLECI", "true");
        assert_eq!(of(&[ci, ("CIRCLE_BRANCH", "feature")]), is("feature", "", "CircleCI"));
        assert_eq!(of(&[ci, ("CIRCLE_BRANCH", "pull/44")]), is("pr-44", "", "CircleCI"));
        let fork = [ci, ("CIRCLE_BRANCH", "main"), ("CIRCLE_PR_USERNAME", "somebody")];
        assert_eq!(of(&fork), is("", "", "CircleCI"));
    }

    #[test]
    fn jenkins_knows_changes_and_plugins() {
        let ci = ("JENKINS_URL", "https://ci.example/");
        assert_eq!(of(&[ci, ("GIT_BRANCH", "origin/main")]), is("main", "", "Jenkins"));
        let change = [ci, ("CHANGE_ID", "5"), ("CHANGE_TARGET", "main"), ("BRANCH_NAME", "PR-5")];
        assert_eq!(of(&change), is("pr-5", "main", "Jenkins"));
        let plugin = [ci, ("ghprbPullId", "6"), ("ghprbTargetBranch", "main")];
        assert_eq!(of(&plugin), is("pr-6", "main", "Jenkins"));
    }

    #[test]
    fn tekton_knows_what_pipelines_as_code_filled_in() {
        let open = ("PAC_PULL_REQUEST_NUMBER", "{{ pull_request_number }}");
        let push = [open, ("PAC_SOURCE_BRANCH", "refs/heads/main"), ("PAC_EVENT_TYPE", "push")];
        assert_eq!(of(&push), is("main", "", "Tekton"));
        let pull = [
            ("PAC_PULL_REQUEST_NUMBER", "8"),
            ("PAC_SOURCE_BRANCH", "main"),
            ("PAC_TARGET_BRANCH", "main"),
        ];
        assert_eq!(of(&pull), is("pr-8", "main", "Tekton"));
        let nameless = [open, ("PAC_SOURCE_BRANCH", "main"), ("PAC_EVENT_TYPE", "pull_request")];
        assert_eq!(of(&nameless), is("", "", "Tekton"));
    }

    #[test]
    fn git_says_what_is_checked_out() {
        let dir = tempfile::tempdir().unwrap();
        let none = |_: &str| None;
        assert_eq!(Branch::detect(&none, dir.path()).name, None);
        std::fs::create_dir_all(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join(".git/HEAD"), "ref: refs/heads/topic/x\n").unwrap();
        let below = dir.path().join("below");
        assert_eq!(Branch::detect(&none, &below).name.as_deref(), Some("topic/x"));
        std::fs::write(dir.path().join(".git/HEAD"), format!("{}\n", "a".repeat(40))).unwrap();
        assert_eq!(Branch::detect(&none, &below).name, None);
    }
}
