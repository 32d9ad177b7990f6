//! Instructions of Dockerfiles that change files without running anything, on trees alone.
//!
//! | file | what |
//! |---|---|
//! | `context.rs` | the files of the build context as a tree, and their contents into the store |
//! | `select.rs` | what of a tree an instruction reads |
//! | `copy.rs` | `COPY` and `ADD`: the layer they make |
//! | `workdir.rs` | `WORKDIR`: the layer it makes |

pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod select;
pub(crate) mod workdir;
