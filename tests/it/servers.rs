//! The gateways behind real web servers: nginx, Apache, lighttpd, Caddy, HAProxy and h2o as Debian packages them, started by
//! each test for itself.
//!
//! GATEWRIGHT_TEST_RELEASE=1 takes the programs of the release build; GATEWRIGHT_TEST_REQUESTS and
//! GATEWRIGHT_TEST_AT_ONCE change how many requests [`cases::many_requests_at_once`] makes.

mod access;
mod alone;
mod apache;
mod bad_input;
mod browser;
mod caddy;
mod cases;
pub(crate) mod client;
mod clients;
mod command_line;
mod environment;
mod folders;
mod h2o;
mod haproxy;
pub(crate) mod harness;
#[cfg(target_os = "linux")]
mod hostile;
mod life;
mod lighttpd;
mod link;
mod nginx;
#[cfg(target_os = "linux")]
mod programs;
mod proxies;
mod site;
mod sockets;
mod units;

use apache::Starts;
use link::{Link, Over, Protocol};
use site::Front;

/// Runs the cases behind one front: each is a test, with servers of its own. An attribute is for the one case that some
/// combinations do not stand.
macro_rules! behind {
    ($front:ident = $value:expr $(, $(#[$waits:meta])+)?) => {
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
                a_redirect_goes_to_the_client,
                no_more_than_the_announced_length_leaves,
                a_failure_before_any_output_is_the_error_page,
                a_failure_after_some_output_cuts_the_answer,
                a_malformed_content_length_is_refused,
                a_client_that_leaves_ends_the_application,
                many_requests_at_once,
            }

            $($(#[$waits])+)?
            #[test]
            fn a_body_left_unread_does_not_eat_the_answer() {
                super::cases::a_body_left_unread_does_not_eat_the_answer(FRONT);
            }
        }
    };
    (cases: $($case:ident,)*) => {
        $(#[test] fn $case() { super::cases::$case(FRONT); })*
    };
}

behind!(apache_cgid = Front::Apache(Starts::Daemon));
behind!(apache_cgi = Front::Apache(Starts::Itself));
behind!(apache_fcgi_unix = Front::Proxy(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(apache_fcgi_tcp = Front::Proxy(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(apache_fcgi_unix_kept = Front::Proxy(Link::new(Protocol::FastCgi, Over::Unix).kept()));
behind!(apache_fcgi_tcp_kept = Front::Proxy(Link::new(Protocol::FastCgi, Over::Tcp).kept()));
behind!(apache_scgi_unix = Front::Proxy(Link::new(Protocol::Scgi, Over::Unix)));
behind!(apache_scgi_tcp = Front::Proxy(Link::new(Protocol::Scgi, Over::Tcp)));
behind!(apache_fcgid = Front::Fcgid);
behind!(caddy_fcgi_unix = Front::Caddy(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(caddy_fcgi_tcp = Front::Caddy(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(h2o_fcgi_unix = Front::H2o(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(h2o_fcgi_tcp = Front::H2o(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(
    h2o_fcgi_kept = Front::H2o(Link::new(Protocol::FastCgi, Over::Unix).kept()),
    #[ignore = "h2o 2.2.5 ends by an assertion of its own when an answer comes before the body has gone out"]
);
behind!(haproxy_fcgi_unix = Front::Haproxy(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(haproxy_fcgi_tcp = Front::Haproxy(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(haproxy_fcgi_unix_kept = Front::Haproxy(Link::new(Protocol::FastCgi, Over::Unix).kept()));
behind!(haproxy_fcgi_tcp_kept = Front::Haproxy(Link::new(Protocol::FastCgi, Over::Tcp).kept()));
behind!(haproxy_fcgi_shared = Front::Haproxy(Link::new(Protocol::FastCgi, Over::Unix).shared()));
behind!(lighttpd_fcgi_unix = Front::Lighttpd(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(lighttpd_fcgi_tcp = Front::Lighttpd(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(lighttpd_fcgi_streamed = Front::Lighttpd(Link::new(Protocol::FastCgi, Over::Unix).streamed()));
behind!(lighttpd_fcgi_spawned = Front::Lighttpd(Link::new(Protocol::FastCgi, Over::Unix).spawned()));
behind!(lighttpd_fcgi_spawned_tcp = Front::Lighttpd(Link::new(Protocol::FastCgi, Over::Tcp).spawned()));
behind!(lighttpd_scgi_unix = Front::Lighttpd(Link::new(Protocol::Scgi, Over::Unix)));
behind!(lighttpd_scgi_tcp = Front::Lighttpd(Link::new(Protocol::Scgi, Over::Tcp)));
behind!(lighttpd_scgi_spawned = Front::Lighttpd(Link::new(Protocol::Scgi, Over::Unix).spawned()));
behind!(nginx_fcgi_unix = Front::Nginx(Link::new(Protocol::FastCgi, Over::Unix)));
behind!(nginx_fcgi_tcp = Front::Nginx(Link::new(Protocol::FastCgi, Over::Tcp)));
behind!(nginx_fcgi_unix_kept = Front::Nginx(Link::new(Protocol::FastCgi, Over::Unix).kept()));
behind!(nginx_fcgi_tcp_kept = Front::Nginx(Link::new(Protocol::FastCgi, Over::Tcp).kept()));
behind!(nginx_fcgi_streamed = Front::Nginx(Link::new(Protocol::FastCgi, Over::Unix).streamed()));
behind!(nginx_fcgi_kept_streamed = Front::Nginx(Link::new(Protocol::FastCgi, Over::Tcp).kept().streamed()));
behind!(nginx_scgi_streamed = Front::Nginx(Link::new(Protocol::Scgi, Over::Unix).streamed()));
behind!(nginx_scgi_tcp_streamed = Front::Nginx(Link::new(Protocol::Scgi, Over::Tcp).streamed()));
behind!(nginx_scgi_unix = Front::Nginx(Link::new(Protocol::Scgi, Over::Unix)));
behind!(nginx_scgi_tcp = Front::Nginx(Link::new(Protocol::Scgi, Over::Tcp)));
behind!(http = Front::Http);
behind!(nginx_http_unix = Front::Nginx(Link::new(Protocol::Http, Over::Unix)));
behind!(nginx_http_tcp_kept = Front::Nginx(Link::new(Protocol::Http, Over::Tcp).kept()));
behind!(nginx_http_streamed = Front::Nginx(Link::new(Protocol::Http, Over::Unix).kept().streamed()));
