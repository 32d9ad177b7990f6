//! JSON Schema (draft 2020-12) of the files that people write, for editors.
//!
//! Written by hand: the written types take values that a derived schema could not tell apart (a
//! list or a text for `configure`), and editors show the descriptions to people. A test holds the
//! keys here and those of the parser together.

use serde_json::{Map, Value, json};

use crate::parse::RIGHTS;
use crate::resolve::{KINDS, NETWORKS};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of `ashlar.toml`.
#[must_use]
pub fn project_schema() -> Value {
    let option = table(
        "An option; it enters the keys of the modules that use it only",
        [
            ("type", json!({ "enum": ["bool", "enum", "string"] })),
            ("values", texts("The values of an enum")),
            (
                "default",
                json!({
                    "description": "The value without `--option NAME=VALUE`",
                    "type": ["boolean", "string"],
                }),
            ),
            ("description", text("One line for people")),
        ],
        &["type"],
    );
    let base = table(
        "A root file system that modules are built on; it has exactly one of suite, path, archive \
         and host",
        [
            ("suite", text("A Debian suite, for instance `bookworm`")),
            ("variant", text("A variant of mmdebstrap: `buildd` (the default), `minbase`, …")),
            ("packages", texts("Debian packages added to it")),
            ("path", text("A folder of the project")),
            ("archive", text("An archive of the project")),
            ("host", flag("The machine's own file system, read-only; results never leave it")),
        ],
        &[],
    );
    let project = table(
        "The project as a whole",
        [
            ("name", text("Its name")),
            ("default", texts("What is built when no target is named; all when left out")),
            ("salt", text("Change it to forget every earlier result")),
            ("common", texts("Globs of files that enter the key of every module")),
            ("builder", text("Who builds, as provenance names it: an address. In no key")),
        ],
        &["name"],
    );
    let remotes = json!({ "type": "array", "items": remote() });
    document(
        "Ashlar project",
        table(
            "A project of modules",
            [
                ("project", project),
                ("env", environment("Environment of every step")),
                ("options", named("Options by name", &option)),
                ("base", named("Bases by name", &base)),
                (
                    "remote",
                    with_description("Shared places of results, the nearest first", remotes),
                ),
            ],
            &["project"],
        ),
    )
}

/// The schema of `ashlar-cache.toml`.
#[must_use]
pub fn cache_schema() -> Value {
    let globs = |description: &str| {
        json!({
            "description": description,
            "type": "array",
            "items": { "type": "string", "minLength": 1 },
            "minItems": 1,
        })
    };
    let layer = table(
        "Folders that are kept together, and the files that decide what is in them",
        [
            ("key", globs("Globs of the files whose contents are its key; `!` takes back")),
            ("paths", globs("Globs of what is kept; `!` takes back")),
            ("env", texts("Variables of the environment whose values are in the key")),
        ],
        &["key", "paths"],
    );
    let scope = table(
        "Where results are looked for and kept; one place for all branches when left out",
        [
            (
                "read",
                globs("Where to look, in this order; `${branch}` and `${base}` are filled in"),
            ),
            ("write", text("Where to keep what is saved")),
        ],
        &["read", "write"],
    );
    let layers = named("Layers by name, tried in the order of the file", &layer);
    document(
        "Ashlar cache",
        table(
            "What of a workspace is kept",
            [
                ("version", text("Change it to forget every earlier result")),
                ("layer", layers),
                ("scope", scope),
            ],
            &["layer"],
        ),
    )
}

/// The schema of `ashlar-run.toml`.
#[must_use]
pub fn run_schema() -> Value {
    let declaration = |description: &str| {
        table(
            description,
            [
                (
                    "command",
                    json!({
                        "description": "The command: a list, or a text for `sh -c`",
                        "type": ["array", "string"],
                        "items": { "type": "string" },
                    }),
                ),
                ("directory", text("The folder it runs in; the root when left out")),
                ("input", texts("Globs of files it reads; each matches something; `!` takes back")),
                ("maybe", texts("Globs of files it looks for, which may be absent")),
                ("no_inputs", flag("Whether it reads no file of the project")),
                (
                    "common",
                    texts("Globs of files that many runs share; `--no-common` leaves them out"),
                ),
                ("env", texts("Variables whose values count")),
                ("secret", texts("Variables whose values count, known by a fingerprint only")),
                ("flag", texts("Values that count: `NAME=VALUE`")),
                ("tool", texts("Programs whose content counts, wherever they are")),
                ("tool_version", texts("Programs whose answer to `--version` counts")),
                ("uses", texts("Files that other runs may have made")),
                ("git", texts("Checkouts and submodules")),
                ("output", texts("Globs of what it makes; each matches something")),
            ],
            &[],
        )
    };
    let rights = json!({ "enum": RIGHTS });
    document(
        "Ashlar runs",
        table(
            "Commands that are kept",
            [
                ("defaults", declaration("What holds for every run")),
                (
                    "cache",
                    named("What may be done with the cache, by patterns of names of runs", &rights),
                ),
                ("run", named("Runs by name", &declaration("A command, what it needs and makes"))),
            ],
            &[],
        ),
    )
}

/// The schema of `modules/**/*.toml`.
#[must_use]
pub fn module_schema() -> Value {
    let source = source();
    document(
        "Ashlar module",
        table(
            "A module; its name is the path of its file below `modules`",
            [
                ("description", text("One line for people; it enters no key")),
                ("base", text("The base it is built on")),
                ("depends", texts("Modules that it needs")),
                ("tools", texts("Debian packages added to the base for this module")),
                ("uses", texts("Options that its steps see as `OPTION_NAME`")),
                ("env", environment("Environment of its steps, over the project's")),
                ("salt", text("Change it to forget every earlier result of this module")),
                ("source", json!({ "anyOf": [source, { "type": "array", "items": source }] })),
                ("build", build()),
                ("outputs", outputs()),
            ],
            &["build"],
        ),
    )
}

fn remote() -> Value {
    table(
        "A place that others share, where results are found and left",
        [
            (
                "name",
                json!({
                    "description": "Its name; ASHLAR_REMOTE_NAME and --remote NAME=… change its rights",
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_-]{1,50}$",
                }),
            ),
            (
                "url",
                json!({
                    "description": "dir:PATH, http(s)://…, s3://BUCKET/PREFIX, oci://HOST/REPOSITORY, reapi://HOST:PORT/INSTANCE or reapis://…",
                    "type": "string",
                    "pattern": "^(dir:.|(https?|s3|oci|reapis?)://[^/@]+(/[^?#]*)?$)",
                }),
            ),
            ("read", flag("Whether results are looked for there; true unless said")),
            (
                "write",
                json!({
                    "description": "Which results are left there; `clean`: those whose files are committed",
                    "enum": [false, true, "clean"],
                }),
            ),
            (
                "write_branches",
                texts("On which branches results are left there; `*` stands for any characters"),
            ),
            (
                "layout",
                json!({
                    "description": "Behind http(s)://: `oci`, or `bazel` for /ac/ and /cas/",
                    "enum": ["oci", "bazel"],
                }),
            ),
            ("endpoint", text("The address of an S3 service")),
            ("region", text("The region of a bucket")),
            ("insecure", flag("Whether plain HTTP is allowed to hosts that are not loopback")),
            ("ca", text("A file with certificates to trust, PEM")),
            ("certificate", text("A client certificate, PEM")),
            ("key", text("The key of the client certificate, PEM")),
            ("token_env", text("The variable of the environment that holds a bearer token")),
            ("token_file", text("The file that holds a bearer token")),
            (
                "require_signature",
                texts("Public keys, PEM: a result that none of them signed is a miss"),
            ),
            ("sign", text("A private key, PEM, to sign what is pushed with")),
            (
                "timeout",
                json!({
                    "description": "For how long nothing may come or go: `30s` unless said",
                    "type": "string",
                    "pattern": "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
                }),
            ),
        ],
        &["name", "url"],
    )
}

fn with_description(description: &str, mut value: Value) -> Value {
    value["description"] = json!(description);
    value
}

fn source() -> Value {
    let mut source = table(
        "Where the source comes from: exactly one of deb, url, git and path",
        [
            ("deb", text("A Debian source package, with Debian's patches applied")),
            ("url", text("The https://, http:// or file:// address of a file")),
            (
                "sha256",
                json!({
                    "description": "The SHA-256 sum of the file behind `url`",
                    "type": "string",
                    "pattern": "^[0-9a-fA-F]{64}$",
                }),
            ),
            ("mirrors", texts("More addresses of the file behind `url`")),
            ("unpack", flag("Whether the file behind `url` is unpacked; true unless said")),
            ("git", text("A git repository")),
            (
                "commit",
                json!({
                    "description": "The full id of a commit of the git repository",
                    "type": "string",
                    "pattern": "^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$",
                }),
            ),
            ("submodules", flag("Whether submodules are fetched too; false unless said")),
            ("path", text("A file or folder of the project")),
            ("into", text("The folder below SRCDIR that it goes to")),
            ("patches", texts("Globs of patches, or one quilt series file")),
            (
                "strip",
                json!({
                    "description": "Leading components that patches name; 1 unless said",
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 99,
                }),
            ),
        ],
        &[],
    );
    source["oneOf"] = json!([
        { "required": ["deb"] },
        { "required": ["url", "sha256"] },
        { "required": ["git", "commit"] },
        { "required": ["path"] },
    ]);
    source
}

fn build() -> Value {
    let command = |description: &str| {
        json!({
            "description": description,
            "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                { "type": "string" },
            ],
        })
    };
    let step = table(
        "A step with a name for logs",
        [("name", text("Its name")), ("run", text("A script for `sh -eu`"))],
        &["run"],
    );
    table(
        "How it is built",
        [
            (
                "kind",
                json!({
                    "description": "Which commands are the defaults, and what the outputs are",
                    "enum": KINDS.map(crate::Kind::as_str),
                }),
            ),
            (
                "configure",
                command("A list adds arguments to the command of the kind, a text replaces it"),
            ),
            (
                "compile",
                command("A list adds arguments to the command of the kind, a text replaces it"),
            ),
            (
                "install",
                command("A list adds arguments to the command of the kind, a text replaces it"),
            ),
            (
                "steps",
                json!({
                    "description": "For kind `script`: scripts for `sh -eu`, run in SRCDIR",
                    "type": "array",
                    "items": { "anyOf": [{ "type": "string" }, step] },
                }),
            ),
            (
                "timeout",
                json!({
                    "description": "After how long the build is killed: `90s`, `30m`, `1h30m`",
                    "type": "string",
                    "pattern": "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
                }),
            ),
            ("profiles", texts("For kind `deb`: build profiles")),
            ("options", texts("For kind `deb`: build options, for instance `nocheck`")),
            ("context", text("For kind `image`: the folder that COPY and ADD read from")),
            (
                "dockerfile",
                text("For kind `image`: the Dockerfile; `Dockerfile` in the context when left out"),
            ),
            ("target", text("For kind `image`: the stage; the last one when left out")),
            ("args", environment("For kind `image`: values of ARGs")),
            (
                "network",
                json!({
                    "description": "For kind `image`: which network commands have unless they say it",
                    "enum": NETWORKS,
                }),
            ),
        ],
        &["kind"],
    )
}

fn outputs() -> Value {
    table(
        "What it makes",
        [
            ("expect", texts("Globs of paths below DESTDIR; each must match something")),
            ("overlap", texts("Globs of paths at which dependencies may disagree")),
            ("main", text("For kind `deb`: the main package")),
            ("derived", texts("For kind `deb`: packages derived from it")),
            ("extra", texts("For kind `deb`: further packages")),
        ],
        &[],
    )
}

fn document(title: &str, mut table: Value) -> Value {
    table["$schema"] = json!(DIALECT);
    table["title"] = json!(title);
    table
}

fn table<const N: usize>(
    description: &str,
    properties: [(&str, Value); N],
    required: &[&str],
) -> Value {
    let properties: Map<String, Value> =
        properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut table = json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

fn named(description: &str, value: &Value) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": value })
}

fn text(description: &str) -> Value {
    json!({ "description": description, "type": "string" })
}

fn texts(description: &str) -> Value {
    json!({ "description": description, "type": "array", "items": { "type": "string" } })
}

fn flag(description: &str) -> Value {
    json!({ "description": description, "type": "boolean" })
}

fn environment(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": "string" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{CACHE_KEYS, MODULE_KEYS, PROJECT_KEYS, RUN_KEYS};

    fn keys(schema: &Value, pointer: &str) -> Vec<String> {
        let properties = schema.pointer(pointer).and_then(Value::as_object).unwrap();
        properties.keys().cloned().collect()
    }

    fn sorted(known: &[&str]) -> Vec<String> {
        let mut known: Vec<String> = known.iter().map(|k| (*k).to_owned()).collect();
        known.sort();
        known
    }

    #[test]
    fn schemas_and_parser_know_the_same_keys() {
        let project = project_schema();
        for (keys_of, pointer) in PROJECT_KEYS.iter().zip([
            "/properties",
            "/properties/project/properties",
            "/properties/options/additionalProperties/properties",
            "/properties/base/additionalProperties/properties",
            "/properties/remote/items/properties",
        ]) {
            assert_eq!(keys(&project, pointer), sorted(keys_of.known), "{pointer}");
        }
        let cache = cache_schema();
        for (keys_of, pointer) in CACHE_KEYS.iter().zip([
            "/properties",
            "/properties/layer/additionalProperties/properties",
            "/properties/scope/properties",
        ]) {
            assert_eq!(keys(&cache, pointer), sorted(keys_of.known), "{pointer}");
        }
        let run = run_schema();
        for (keys_of, pointer) in [
            (&RUN_KEYS[0], "/properties"),
            (&RUN_KEYS[2], "/properties/run/additionalProperties/properties"),
            (&RUN_KEYS[2], "/properties/defaults/properties"),
        ] {
            assert_eq!(keys(&run, pointer), sorted(keys_of.known), "{pointer}");
        }
        let module = module_schema();
        for (keys_of, pointer) in MODULE_KEYS.iter().zip([
            "/properties",
            "/properties/source/anyOf/0/properties",
            "/properties/build/properties",
            "/properties/outputs/properties",
            "/properties/build/properties/steps/items/anyOf/1/properties",
        ]) {
            assert_eq!(keys(&module, pointer), sorted(keys_of.known), "{pointer}");
        }
    }

    #[test]
    fn every_key_is_explained() {
        fn walk(value: &Value, path: &str) {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                for (key, value) in properties {
                    let known = ["description", "anyOf", "enum"];
                    assert!(known.iter().any(|k| value.get(k).is_some()), "{path}/{key}");
                    walk(value, &format!("{path}/{key}"));
                }
            }
        }
        walk(&project_schema(), "");
        walk(&module_schema(), "");
        walk(&cache_schema(), "");
        walk(&run_schema(), "");
    }
}
