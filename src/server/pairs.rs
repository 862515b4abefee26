//! A block of names and values becomes a request's variables.

use std::ops::Range;

use crate::environ::{Collector, Vars};
use crate::error::Error;
use crate::proto::{NamedPair, PairPlaces};

/// Whether the request's parameters may be that many.
fn check_pairs(count: usize, most: usize) -> Result<(), Error> {
    if count <= most {
        return Ok(());
    }
    let message = format!("the request has more than the {most} parameters that are allowed");
    Err(Error::new(crate::error::Fault::Peer, 431, message))
}

/// What is known of a request that was refused early: the answer to HEAD has no body, whatever it is, and the log shall say
/// what was refused.
const LINE: [&[u8]; 4] = [b"REQUEST_METHOD", b"REQUEST_URI", b"SERVER_PROTOCOL", b"REMOTE_ADDR"];

/// How names and values stand in a block.
pub(super) trait Format {
    /// What may be wrong with them.
    type Error: From<Error>;

    /// The places of the pair at a place that moves on; `None` at the end.
    fn next(block: &[u8], at: &mut usize) -> Option<Result<PairPlaces, Self::Error>>;

    /// The pair at a place, if it has this name; it need not be found.
    fn named(block: &[u8], at: usize, name: &[u8]) -> Option<NamedPair>;

    /// A rule that the pairs have to follow, told each in its turn. Who broke it is asked again.
    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<(), Self::Error> {
        let _ = (name, value);
        Ok(())
    }
}

/// Turns a block of at most so many names and values into variables, which take its memory over. Behind an error
/// [what every request has](LINE) is taken still.
pub(super) fn collect_pairs<F: Format>(
    vars: &mut Vars,
    block: &mut Vec<u8>,
    most: usize,
    format: &mut F,
) -> Result<(), F::Error> {
    let mut collector = Collector::over(vars, block);
    let mut at = 0;
    let mut count = collector.follow(&mut at, most, |block, at, name| {
        let pair = F::named(block, at, name)?;
        let value = block.get(pair.value_at..pair.value_at + pair.value_len)?;
        format.check(name, value).ok().map(|()| pair)
    });
    loop {
        let here = at;
        let Some(pair) = F::next(collector.block(), &mut at) else { break };
        count += 1;
        let taken = check_pairs(count, most).map_err(F::Error::from).and_then(|()| {
            let (name, value) = pair?;
            let part = |place: &Range<usize>| collector.block().get(place.clone()).unwrap_or_default();
            format.check(part(&name), part(&value))?;
            Ok(collector.push_from_block(&name, &value)?)
        });
        if taken.is_err() {
            at = here;
            while let Some(Ok((name, value))) = F::next(collector.block(), &mut at) {
                if collector.block().get(name.clone()).is_some_and(|name| LINE.contains(&name)) {
                    collector.push_from_block(&name, &value)?;
                }
            }
            return taken;
        }
    }
    collector.finish();
    Ok(())
}

/// The same where the parameters were refused before any was taken.
pub(super) fn set_line<'p>(vars: &mut Vars, pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>) {
    pairs.filter(|(name, _)| LINE.contains(name)).for_each(|(name, value)| vars.set(name, value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environ::{Known, sanitise};
    use crate::proto::{fcgi, scgi};

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    struct Fcgi;

    impl Format for Fcgi {
        type Error = Error;

        fn next(block: &[u8], at: &mut usize) -> Option<Result<PairPlaces, Error>> {
            Some(fcgi::pair_at(block, at)?.map_err(Error::from))
        }

        fn named(block: &[u8], at: usize, name: &[u8]) -> Option<NamedPair> {
            fcgi::pair_named(block, at, name)
        }
    }

    /// The name `NO` breaks its rule, and so does `MAYBE` with that value.
    struct Scgi;

    impl Format for Scgi {
        type Error = Error;

        fn next(block: &[u8], at: &mut usize) -> Option<Result<PairPlaces, Error>> {
            Some(scgi::pair_at(block, at)?.map_err(Error::from))
        }

        fn named(block: &[u8], at: usize, name: &[u8]) -> Option<NamedPair> {
            scgi::pair_named(block, at, name)
        }

        fn check(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
            let broken = name == b"NO" || (name, value) == (b"MAYBE", b"NO");
            if broken { Err(Error::bad_request("no")) } else { Ok(()) }
        }
    }

    fn by_fcgi(vars: &mut Vars, pairs: Pairs<'_>) -> Result<(), Error> {
        let mut block = Vec::new();
        for (name, value) in pairs {
            fcgi::encode::pair(&mut block, name.as_bytes(), value.as_bytes()).unwrap();
        }
        collect_pairs(vars, &mut block, usize::MAX, &mut Fcgi)
    }

    fn by_scgi(vars: &mut Vars, pairs: Pairs<'_>) -> Result<(), Error> {
        let text: Vec<_> = pairs.iter().flat_map(|(name, value)| [*name, "\0", *value, "\0"]).collect();
        let mut block = text.concat().into_bytes();
        collect_pairs(vars, &mut block, usize::MAX, &mut Scgi)
    }

    #[test]
    fn what_the_names_were_before_changes_nothing() {
        const LONG: &str = "HTTP_A_NAME_THAT_IS_LONGER_THAN_MOST_NAMES_ARE";
        let long_value = "v".repeat(300);
        let usual = [
            ("QUERY_STRING", ""),
            ("REQUEST_METHOD", "GET"),
            ("X", &long_value),
            ("HTTP_HOST", "h"),
            (LONG, "a"),
            ("HTTPS", "on"),
        ];
        let many: Vec<_> = (0..40).map(|n| (format!("N{n}"), n.to_string())).collect();
        let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let requests: &[Pairs<'_>] = &[
            &usual,
            &[("QUERY_STRING", "q"), ("REQUEST_METHOD", "POST"), ("X", ""), ("HTTP_HOST", "i"), (LONG, "")],
            &usual[..3],
            &[],
            &usual[2..],
            &[("QUERY_STRING", "1"), ("REQUEST_METHOD", "GET"), ("QUERY_STRING", "2"), ("X", "1")],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("X", "1"), ("X", "2"), ("HTTP_HOST", "h")],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("HTTP_HOST", "h"), ("HTTP_HOST", "i")],
            &[
                ("QUERY_STRING", ""),
                ("A=", ""),
                ("REQUEST_METHOD", "GET"),
                ("wsgi.x", "1"),
                ("HTTP_X-Y", "1"),
            ],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("wsgi.x", "1"), ("HTTP_X-Y", "1")],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("HTTP_X-Y", "1"), ("HTTP_X_Y", "2")],
            &many,
            &many[..20],
        ];
        for collect in [by_fcgi, by_scgi] {
            for (before, request) in
                requests.iter().flat_map(|one| requests.iter().map(move |two| (one, two)))
            {
                let (mut vars, mut fresh) = (Vars::new(), Vars::new());
                collect(&mut vars, before).unwrap();
                collect(&mut vars, request).unwrap();
                collect(&mut fresh, request).unwrap();
                assert_eq!(vars, fresh, "after {before:?}");
                assert_eq!(vars.has_wsgi_names(), fresh.has_wsgi_names());
                for (name, _) in before.iter().chain(*request) {
                    assert_eq!(vars.get(name), fresh.get(name), "{name} after {before:?}");
                }
                for known in Known::ALL {
                    assert_eq!(vars.known(known), fresh.known(known));
                }
                sanitise(&mut vars);
                sanitise(&mut fresh);
                assert_eq!(vars, fresh, "after {before:?}");
            }
        }
    }

    #[test]
    fn the_names_of_the_request_before_count_too() {
        let mut vars = Vars::new();
        for (names, taken) in [("AB", true), ("AB", true), ("ABC", false), ("AB", true), ("ABC", false)] {
            let mut block = Vec::new();
            for name in names.bytes() {
                fcgi::encode::pair(&mut block, &[name], b"").unwrap();
            }
            let result = collect_pairs(&mut vars, &mut block, 2, &mut Fcgi);
            assert_eq!(result.map_err(|error| error.status()).err(), (!taken).then_some(431));
        }
    }

    #[test]
    fn a_broken_rule_is_found_whatever_came_before_and_the_rest_is_looked_through() {
        let good = [("A", "1"), ("MAYBE", "YES"), ("REQUEST_METHOD", "GET")];
        let bad: [Pairs<'_>; 2] = [
            &[("A", "1"), ("MAYBE", "NO"), ("REQUEST_METHOD", "HEAD"), ("B", "2")],
            &[("A", "1"), ("NO", ""), ("REQUEST_METHOD", "HEAD"), ("B", "2")],
        ];
        for before in [&[][..], &good] {
            for request in bad {
                let mut vars = Vars::new();
                by_scgi(&mut vars, before).unwrap();
                assert_eq!(by_scgi(&mut vars, request).unwrap_err().status(), 400);
                assert_eq!(vars, Vars::from([("A", "1"), ("REQUEST_METHOD", "HEAD")]));
            }
        }
    }
}
