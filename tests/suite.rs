//! Everything that needs a running server.
