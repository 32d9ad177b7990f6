//! Real servers on loopback, and a proxy that misbehaves, for the tests of other rooms.
