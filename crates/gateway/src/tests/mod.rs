//! Requests against a whole gateway over the memory engine, one file per feature of the protocol.

mod bad_input;
mod buckets;
mod chunked;
mod conditions;
mod copying;
mod healing;
mod listing;
mod multipart;
mod notification;
mod objects;
mod routing;
mod topics;
mod verification;
