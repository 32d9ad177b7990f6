//! One command, kept by all that can change what it makes.
