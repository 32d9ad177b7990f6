//! A kept tree put over what is in a folder, whole or not at all.
