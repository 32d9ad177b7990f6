//! Trees that tasks of a pipeline hand to one another.
