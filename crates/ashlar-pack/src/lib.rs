//! Trees as layers of OCI images: tar archives in zstd with a table of contents (zstd:chunked), so
//! that ordinary tools read them and single files can be fetched by range. Pure: contents come
//! from, and bytes go to, what the caller passes in.
