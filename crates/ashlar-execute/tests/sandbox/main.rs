//! The sandbox as a command sees it and as a build sees it, with the real `bwrap`, run as root.

mod changes;
mod ends;
mod fixture;
mod image;
mod inside;
mod jobs;
mod layers;
mod ordinary;
