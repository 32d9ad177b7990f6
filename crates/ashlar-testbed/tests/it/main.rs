//! The servers start, do what they are there for, and end; the proxy does what rules say.

mod http;
mod proxy;
mod servers;
