//! The ladder of handlers from outside the crate: own types on every rung, and applications under ready ones.

mod applications;
mod iterables;
mod overrides;
mod reuse;
mod rungs;
mod streaming;
