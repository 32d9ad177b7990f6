//! Tests of results as images.
