//! The directories of a job, kept in layers.
