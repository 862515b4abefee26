//! The flags for limits and time-outs. For each, 0 means none.

use std::time::Duration;

use clap::Args;

use super::units;
use crate::server::{ReadyModel, Settings};

#[derive(Args, Clone, Debug)]
#[command(
    next_help_heading = units::LIMITS
)]
pub(super) struct Limits {
    /// Bytes of a request's parameters; more is answered with 431 [default: 256K, HTTP 64K]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_head: Option<u64>,
    /// Number of a request's parameters; more is answered with 431 [default: 4096, HTTP 100]
    #[arg(long, value_name = "N", value_parser = units::number::<usize>)]
    max_pairs: Option<usize>,
    /// Bytes of a request's body; more is answered with 413 [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_body: Option<u64>,
    /// Bodies up to this size are read before the application is called [default: 64K]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    body_gather: Option<u64>,
    /// Connections at once; more wait to be accepted [default: 10000, or the descriptor limit less 64]
    #[arg(long, value_name = "N", value_parser = units::number::<usize>)]
    max_connections: Option<usize>,
    /// Requests at once on one FastCGI connection; more are answered with OVERLOADED [default: 64]
    #[arg(long, value_name = "N", value_parser = units::number::<usize>)]
    max_requests_per_connection: Option<usize>,
    /// Threads at most that run the application; more requests wait [default: 64]
    #[arg(long, value_name = "N", value_parser = units::number::<usize>)]
    workers: Option<usize>,
    /// How long a request waits for a worker before it is answered with 503 [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    worker_wait: Option<Duration>,
    /// Time for a whole head, from its first byte [default: 30s, HTTP 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    head_timeout: Option<Duration>,
    /// Time between two pieces of a body [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    body_timeout: Option<Duration>,
    /// Bytes a second at which a body comes, once it was waited for as long as --body-timeout; HTTP alone [default: 240]
    #[arg(long, value_name = "N", value_parser = units::number::<u32>)]
    min_body_rate: Option<u32>,
    /// Time for the peer to read on [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    write_timeout: Option<Duration>,
    /// Time between requests on a kept connection [default: none, HTTP 75s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    idle_timeout: Option<Duration>,
    /// How long a TCP peer that has ended its sending may be silent before it counts as gone [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    half_close_grace: Option<Duration>,
    /// Time for requests under way when the server is stopped [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    drain_timeout: Option<Duration>,
}

impl Limits {
    /// Sets what was given.
    pub(super) fn apply(&self, settings: &mut Settings) {
        fn set<T: Copy>(place: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *place = given;
            }
        }
        let size = |given: Option<u64>| given.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        set(&mut settings.max_head, size(self.max_head));
        set(&mut settings.max_pairs, self.max_pairs);
        set(&mut settings.max_body, self.max_body);
        set(&mut settings.body_gather, size(self.body_gather));
        set(&mut settings.max_connections, self.max_connections);
        set(&mut settings.max_requests_per_connection, self.max_requests_per_connection);
        set(&mut settings.workers, self.workers);
        set(&mut settings.worker_wait, self.worker_wait);
        set(&mut settings.head_timeout, self.head_timeout);
        set(&mut settings.body_timeout, self.body_timeout);
        set(&mut settings.min_body_rate, self.min_body_rate);
        set(&mut settings.write_timeout, self.write_timeout);
        set(&mut settings.idle_timeout, self.idle_timeout);
        set(&mut settings.half_close_grace, self.half_close_grace);
        set(&mut settings.drain_timeout, self.drain_timeout);
        // For the tests of what other systems do.
        if std::env::var_os("GATEWRIGHT_READY").is_some_and(|model| model == "portable") {
            settings.ready = ReadyModel::Portable;
        }
    }
}
