//! The default commands of the kinds.
