//! Results as OCI images on a depot: revisions, signatures, provenance.
