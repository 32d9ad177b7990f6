//! A finished step is kept whatever happens afterwards, and nothing that happens leads to a wrong
//! result: kills, signals, full and read-only disks, damage, many processes at once.

mod damaged;
mod failed;
mod full;
mod killed;
pub mod mounts;
mod random;
mod refused;
pub mod running;
mod stopped;
mod together;
mod traces;
