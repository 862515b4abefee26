//! A request's input for its application: STDIN, or a filter's DATA.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::feed::{Inbound, Key, Lost};
use super::intake::{Intake, Mine, Place, Range, Which};
use super::outgoing::Outgoing;
use super::{BLOCK, Connection, given_up, refuse};
use crate::environ::Live;
use crate::error::{Error, Fault};
use crate::server::bell::Bell;
use crate::server::core::{Job, Spares, lock};
use crate::server::link::Received;
use crate::server::spool::Spool;

pub(super) struct Body<'h, 'c> {
    connection: &'c Arc<Connection>,
    key: Key,
    which: Which,
    outgoing: &'h RefCell<Outgoing<'c>>,
    /// Bytes that others have taken in, and how far they were used.
    kept: Vec<u8>,
    at: usize,
    /// What this thread has read itself, and where in it the pieces of this body are.
    block: Vec<u8>,
    ranges: Vec<Range>,
    next: usize,
    /// The last read took all there was: the next one will have to wait.
    drained: bool,
    /// How many bytes were used in all.
    used: u64,
}

impl<'h, 'c> Body<'h, 'c> {
    /// STDIN: first `gathered`, then the pieces of a block that was read already, then what comes.
    pub(super) fn stdin(
        connection: &'c Arc<Connection>,
        key: Key,
        gathered: Vec<u8>,
        (block, ranges): (Vec<u8>, Vec<Range>),
        outgoing: &'h RefCell<Outgoing<'c>>,
    ) -> Self {
        Self {
            connection,
            key,
            which: Which::Stdin,
            outgoing,
            kept: gathered,
            at: 0,
            block,
            ranges,
            next: 0,
            drained: false,
            used: 0,
        }
    }

    /// DATA.
    pub(super) fn data(
        connection: &'c Arc<Connection>,
        key: Key,
        outgoing: &'h RefCell<Outgoing<'c>>,
    ) -> Self {
        Self { which: Which::Data, ..Self::stdin(connection, key, Vec::new(), Default::default(), outgoing) }
    }

    /// The memory it was made of, to use again.
    pub(super) fn into_memory(mut self) -> (Vec<u8>, Vec<u8>, Vec<Range>) {
        self.block.resize(BLOCK, 0);
        self.ranges.clear();
        (self.kept, self.block, self.ranges)
    }

    /// What is here.
    fn here(&self) -> &[u8] {
        if self.at < self.kept.len() {
            return self.kept.get(self.at..).unwrap_or_default();
        }
        match self.ranges.get(self.next) {
            Some((start, end)) => self.block.get(*start..*end).unwrap_or_default(),
            None => &[],
        }
    }

    /// Waits until something is here, or nothing comes any more.
    fn fill(&mut self) -> io::Result<()> {
        let max_body = self.connection.settings().max_body_or_none();
        if !self.here().is_empty() {
            return if self.used > max_body { Err(too_large()) } else { Ok(()) };
        }
        let connection = self.connection;
        let mut intake = lock(&connection.intake);
        loop {
            if intake.is_aborted(self.key) {
                return Err(given_up());
            }
            let Some(feed) = intake.feed(self.key) else { return Err(given_up()) };
            if self.take_kept(self.which.of(feed))? {
                break;
            }
            if intake.deaf {
                return Err(given_up());
            }
            if intake.poller {
                // Somebody reads for all.
                intake.waiters += 1;
                intake = connection.changed.wait(intake).unwrap_or_else(PoisonError::into_inner);
                intake.waiters -= 1;
                continue;
            }
            intake = self.read(intake)?;
            if !self.here().is_empty() {
                break;
            }
        }
        drop(intake);
        if self.used > max_body { Err(too_large()) } else { Ok(()) }
    }

    /// Takes what others have read; `true` when there is some, or when nothing comes any more.
    fn take_kept(&mut self, inbound: &mut Inbound) -> io::Result<bool> {
        if !inbound.kept.is_empty() {
            self.at = 0;
            inbound.kept.read(&mut self.kept)?;
            return Ok(true);
        }
        match inbound.lost {
            Some(Lost::Abandoned) => Ok(true),
            Some(Lost::TooLarge) => Err(too_large()),
            Some(Lost::NoRoom) => {
                let message =
                    "the request body could not be kept until it was read (--spool-dir, --spool-max)";
                Err(io::Error::other(Error::new(Fault::Gateway, 503, message)))
            }
            None => Ok(inbound.ended),
        }
    }

    /// Takes what is here already, without waiting; `false` when nothing is, and more may come.
    fn fill_now(&mut self) -> io::Result<bool> {
        let max_body = self.connection.settings().max_body_or_none();
        if self.used > max_body {
            return Err(too_large());
        }
        if !self.here().is_empty() {
            return Ok(true);
        }
        let connection = self.connection;
        loop {
            let mut intake = lock(&connection.intake);
            if intake.is_aborted(self.key) {
                return Err(given_up());
            }
            let Some(feed) = intake.feed(self.key) else { return Err(given_up()) };
            if self.take_kept(self.which.of(feed))? {
                return Ok(true);
            }
            if intake.deaf {
                return Err(given_up());
            }
            if intake.poller {
                return Ok(false);
            }
            intake.leave_reading(self.key);
            self.block.resize(BLOCK, 0);
            match connection.link.receive(&mut self.block) {
                Ok(Received::Nothing) => {
                    intake.note_drained();
                    // Who has asked need not wait for it now, nor ask again.
                    if intake.is_left() {
                        connection.look_later();
                    }
                    return Ok(false);
                }
                received => {
                    intake.note_drained();
                    drop(self.take_in(intake, received));
                }
            }
            if !self.here().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Reads once, waiting if need be, for everybody on the connection.
    fn read<'i>(&mut self, mut intake: MutexGuard<'i, Intake>) -> io::Result<MutexGuard<'i, Intake>>
    where
        'c: 'i,
    {
        let connection = self.connection;
        self.block.resize(BLOCK, 0);
        intake.leave_reading(self.key);
        intake.note_drained();
        if !self.drained {
            match connection.link.receive(&mut self.block) {
                Ok(Received::Nothing) => {}
                received => return Ok(self.take_in(intake, received)),
            }
        }
        intake = connection.begin_waiting(intake);
        drop(intake);
        let received = self.receive();
        intake = lock(&connection.intake);
        intake.poller = false;
        match received {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                intake.break_off();
                connection.tell(&intake);
                Err(error)
            }
            received => Ok(self.take_in(intake, received)),
        }
    }

    /// Takes in what this thread has read, and passes on what is for others.
    fn take_in<'i>(
        &mut self,
        mut intake: MutexGuard<'i, Intake>,
        received: io::Result<Received>,
    ) -> MutexGuard<'i, Intake>
    where
        'c: 'i,
    {
        let connection = self.connection;
        self.ranges.clear();
        self.next = 0;
        let mut ready = Vec::new();
        match received {
            Ok(Received::Some(count)) => {
                // The socket may hold more, and nobody else was told.
                self.drained = count < self.block.len();
                intake.more |= !self.drained;
                let mine = Mine { key: Some(self.key), which: self.which, ranges: &mut self.ranges };
                let place = &mut Place {
                    settings: connection.settings(),
                    spares: &mut Spares::default(),
                    ready: &mut ready,
                    mine: Some(mine),
                };
                if let Err(error) = intake.take_in(self.block.get(..count).unwrap_or_default(), place) {
                    refuse(&mut intake, &error);
                }
            }
            Ok(_) => {
                if let Err(error) = intake.end_of_input() {
                    refuse(&mut intake, &error);
                }
                connection.link.note_half_close();
            }
            Err(_) => intake.break_off(),
        }
        intake.note_deadline_of_others(&connection.link);
        connection.tell(&intake);
        connection.go_on_reading(&mut intake, self.key);
        if ready.is_empty() && intake.aside.is_empty() {
            return intake;
        }
        drop(intake);
        for request in ready {
            connection.link.core.push(Job::Run(Arc::clone(connection), Box::new(request), None));
        }
        connection.send_aside();
        lock(&connection.intake)
    }

    fn receive(&mut self) -> io::Result<Received> {
        self.outgoing.borrow_mut().before_waiting()?;
        self.connection.link.receive_or_wait(self.connection, &mut self.block)
    }
}

fn too_large() -> io::Error {
    io::Error::other(Error::new(Fault::Peer, 413, "the body is larger than is allowed"))
}

impl Live for Body<'_, '_> {
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        Ok(if self.fill_now()? { Some(self.here()) } else { None })
    }

    fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
        let connection = self.connection;
        let mut intake = lock(&connection.intake);
        let (aborted, deaf, busy) = (intake.is_aborted(self.key), intake.deaf, intake.poller);
        let Some(feed) = intake.feed(self.key) else { return with(None) };
        let inbound = self.which.of(feed);
        if aborted || deaf || inbound.ended || inbound.lost.is_some() || !inbound.kept.is_empty() {
            drop(intake);
            return with(None);
        }
        if !busy {
            // Nobody else reads meanwhile, so that the socket itself tells.
            drop(connection.begin_waiting(intake));
            with(Some(connection.link.stream.as_fd()));
            let mut intake = lock(&connection.intake);
            intake.poller = false;
            connection.tell(&intake);
            if intake.is_left() || intake.unarmed {
                connection.go_on_reading(&mut intake, self.key);
            }
            return;
        }
        let bell = match &feed.bell {
            Some(bell) => Arc::clone(bell),
            None => match Bell::new() {
                Ok(bell) => Arc::clone(feed.bell.insert(Arc::new(bell))),
                Err(error) => {
                    log::warn!("fcgi: a request cannot wait for its body: {error}");
                    drop(intake);
                    return with(None);
                }
            },
        };
        bell.clear();
        drop(intake);
        with(Some(bell.as_fd()));
    }

    fn is_whole(&self) -> bool {
        let mut intake = lock(&self.connection.intake);
        intake.feed(self.key).is_some_and(|feed| self.which.of(feed).ended)
    }

    fn abandon(&mut self) {
        let mut intake = lock(&self.connection.intake);
        let Some(feed) = intake.feed(self.key) else { return };
        let inbound = self.which.of(feed);
        (inbound.kept, inbound.lost) = (Spool::default(), Some(Lost::Abandoned));
        self.connection.go_on_reading(&mut intake, self.key);
    }
}

impl Read for Body<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Body<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()?;
        Ok(self.here())
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.here().len());
        self.used = self.used.saturating_add(amount as u64);
        if self.at < self.kept.len() {
            self.at += amount;
        } else if let Some((start, end)) = self.ranges.get_mut(self.next) {
            *start += amount;
            if start == end {
                self.next += 1;
            }
        }
    }
}
