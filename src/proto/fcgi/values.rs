//! The variables of GET_VALUES (section 4.1): the three known ones, found in any number of pairs with fixed memory.

use super::params::LengthsGather;
use crate::environ::content_length;
use crate::proto::take;

/// The known variables, as bytes: `FCGI_MAX_CONNS`, `FCGI_MAX_REQS`, `FCGI_MPXS_CONNS`.
pub(super) const MAX_CONNS: &[u8] = b"FCGI_MAX_CONNS";
pub(super) const MAX_REQS: &[u8] = b"FCGI_MAX_REQS";
pub(super) const MPXS_CONNS: &[u8] = b"FCGI_MPXS_CONNS";

/// Which variables a web server asks for (section 4.1). Names that are not known leave no trace, repeated ones no more
/// than the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Names {
    /// `FCGI_MAX_CONNS`: how many connections the application takes at once.
    pub max_conns: bool,
    /// `FCGI_MAX_REQS`: how many requests the application takes at once.
    pub max_reqs: bool,
    /// `FCGI_MPXS_CONNS`: whether it takes several requests on one connection.
    pub mpxs_conns: bool,
}

impl Names {
    /// All three.
    pub const ALL: Self = Self { max_conns: true, max_reqs: true, mpxs_conns: true };

    fn add(&mut self, name: &[u8]) {
        match name {
            MAX_CONNS => self.max_conns = true,
            MAX_REQS => self.max_reqs = true,
            MPXS_CONNS => self.mpxs_conns = true,
            _ => {}
        }
    }
}

/// The values of the variables (section 4.1); `None` where nothing is said.
///
/// ```
/// use gatewright::proto::fcgi::{Names, Values};
///
/// let ours = Values { max_conns: Some(100), max_reqs: Some(100), mpxs_conns: Some(true) };
/// let asked = Names { mpxs_conns: true, ..Names::default() };
/// assert_eq!(ours.only(asked), Values { mpxs_conns: Some(true), ..Values::default() });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Values {
    /// `FCGI_MAX_CONNS`: how many connections the application takes at once.
    pub max_conns: Option<u32>,
    /// `FCGI_MAX_REQS`: how many requests the application takes at once.
    pub max_reqs: Option<u32>,
    /// `FCGI_MPXS_CONNS`: whether it takes several requests on one connection.
    pub mpxs_conns: Option<bool>,
}

impl Values {
    /// Those that `asked` names: what is answered to GET_VALUES.
    #[must_use]
    pub fn only(self, asked: Names) -> Self {
        Self {
            max_conns: self.max_conns.filter(|_| asked.max_conns),
            max_reqs: self.max_reqs.filter(|_| asked.max_reqs),
            mpxs_conns: self.mpxs_conns.filter(|_| asked.mpxs_conns),
        }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        let number = || content_length(value).ok().flatten().and_then(|number| u32::try_from(number).ok());
        match name {
            MAX_CONNS => self.max_conns = number(),
            MAX_REQS => self.max_reqs = number(),
            MPXS_CONNS => {
                self.mpxs_conns = match value {
                    b"0" => Some(false),
                    b"1" => Some(true),
                    _ => None,
                }
            }
            _ => {}
        }
    }
}

/// Walks the pairs of a record that comes in fragments, and remembers which variables they name and how they are set.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    lengths: LengthsGather,
    name: Field,
    value: Field,
    names: Names,
    values: Values,
}

impl Scanner {
    pub(super) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.at_lengths() {
                let [byte, rest @ ..] = data else { return };
                data = rest;
                let Some((name, value)) = self.lengths.push(*byte) else { continue };
                self.name = Field::of(name);
                self.value = Field::of(value);
            }
            self.name.feed(&mut data);
            self.value.feed(&mut data);
            if self.at_lengths() {
                self.names.add(self.name.bytes());
                self.values.add(self.name.bytes(), self.value.bytes());
            }
        }
    }

    /// What the record said, or `None` when it ended inside a pair.
    pub(super) fn finish(self) -> Option<(Names, Values)> {
        (self.lengths.is_empty() && self.at_lengths()).then_some((self.names, self.values))
    }

    fn at_lengths(&self) -> bool {
        self.name.left == 0 && self.value.left == 0
    }
}

/// A name or value of which only the beginning is kept: as much as a known name or a number needs.
#[derive(Debug, Default)]
struct Field {
    kept: [u8; 16],
    have: usize,
    left: u32,
    too_long: bool,
}

impl Field {
    fn of(length: u32) -> Self {
        Self { left: length, too_long: length > 16, ..Self::default() }
    }

    fn feed(&mut self, data: &mut &[u8]) {
        let taken = take(data, usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left = self.left.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        for (slot, byte) in self.kept.iter_mut().skip(self.have).zip(taken) {
            *slot = *byte;
            self.have += 1;
        }
    }

    /// All of it; nothing when it is too long to be kept.
    fn bytes(&self) -> &[u8] {
        if self.too_long { &[] } else { self.kept.get(..self.have).unwrap_or_default() }
    }
}
