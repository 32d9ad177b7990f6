//! Results as single blobs behind an action cache: REAPI, and its HTTP layout.
