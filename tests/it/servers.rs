//! The gateways behind real web servers: nginx and Apache as Debian packages them, started by each test for itself.
//!
//! GATEWRIGHT_TEST_RELEASE=1 takes the programs of the release build; GATEWRIGHT_TEST_REQUESTS and
//! GATEWRIGHT_TEST_AT_ONCE change how many requests [`cases::many_requests_at_once`] makes.

mod access;
mod apache;
mod bad_input;
mod cases;
mod client;
mod command_line;
mod environment;
mod folders;
mod harness;
mod life;
mod nginx;
mod site;
mod sockets;

use apache::Starts;
use nginx::{Link, Over, Protocol};
use site::Front;

/// Runs the cases behind one front: each is a test, with servers of its own.
macro_rules! behind {
    ($front:ident = $value:expr) => {
        mod $front {
            use super::*;

            const FRONT: Front = $value;

            behind! { cases:
                non_ascii_paths_and_queries_arrive_byte_for_byte,
                an_empty_path_info,
                the_environment_is_what_the_web_server_means,
                repeated_and_dangerous_request_headers,
                head_keeps_its_length_and_has_no_body,
                a_mebibyte_is_echoed_whole,
                a_chunked_body_is_echoed_whole,
                twenty_mebibytes_stream_both_ways,
                ten_mebibytes_arrive_byte_for_byte,
                repeated_response_headers_stay_apart_and_in_order,
                a_failure_before_any_output_is_the_error_page,
                a_failure_after_some_output_cuts_the_answer,
                a_malformed_content_length_is_refused,
                many_requests_at_once,
            }

        }
    };
    (cases: $($case:ident,)*) => {
        $(#[test] fn $case() { super::cases::$case(FRONT); })*
    };
}

behind!(apache_cgid = Front::Apache(Starts::Daemon));
behind!(apache_cgi = Front::Apache(Starts::Itself));
behind!(nginx_fcgi_unix = Front::Nginx(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(nginx_fcgi_tcp = Front::Nginx(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(nginx_fcgi_unix_kept = Front::Nginx(Link::new(Protocol::FastCgi, Over::Unix).kept()));
behind!(nginx_fcgi_tcp_kept = Front::Nginx(Link::new(Protocol::FastCgi, Over::Tcp).kept()));
behind!(nginx_scgi_unix = Front::Nginx(Link::new(Protocol::Scgi, Over::Unix)));
behind!(nginx_scgi_tcp = Front::Nginx(Link::new(Protocol::Scgi, Over::Tcp)));
behind!(http = Front::Http);
behind!(nginx_http_unix = Front::Nginx(Link::new(Protocol::Http, Over::Unix)));
behind!(nginx_http_tcp_kept = Front::Nginx(Link::new(Protocol::Http, Over::Tcp).kept()));
