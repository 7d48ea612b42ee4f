//! The key schema and the records behind the keys. `docs/formats.md` has the tables.
