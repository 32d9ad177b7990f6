//! RFC 822 stanzas as Debian writes them.
