//! The pack room from outside: what it writes is read back by itself, by real programs, and
//! damaged in every way.

mod archives;
mod checked;
mod checking;
mod damage;
mod fetching;
mod foreign;
mod hostile;
mod images;
mod revisions;
mod strategies;
mod support;
mod tools;
