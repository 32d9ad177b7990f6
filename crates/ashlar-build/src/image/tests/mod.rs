//! Dockerfiles of COPY, ADD and WORKDIR, built on trees and compared with what should come out.

mod cases;
mod copying;
mod flags;
mod hostile;
mod properties;
mod world;
