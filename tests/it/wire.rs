//! Servers in this process, and raw peers that talk to them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gatewright::app::Application;
use gatewright::proto::fcgi::{ProtocolStatus, ResponseDecoder, ResponseEvent, Role, Stream, encode};
use gatewright::server::{Address, Protocol, ReadyModel, Server, Settings, SocketRights, Stop};

/// No test waits longer for a peer; none should come near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a socket file of its own, stopped and awaited when dropped.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Running {
    pub(crate) fn start(protocol: Protocol, app: impl Application + 'static) -> Self {
        Self::with(protocol, app, |_| ())
    }

    pub(crate) fn with(
        protocol: Protocol,
        app: impl Application + 'static,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatewright-{}-{count}.sock", std::process::id()));
        let mut server = Server::new(protocol);
        if portable() {
            server.settings.ready = ReadyModel::Portable;
        }
        change(&mut server.settings);
        server.bind(&Address::Unix(path.clone()), &SocketRights::default()).unwrap();
        let stop = Stop::new();
        let (ours, app) = (stop.clone(), Arc::new(app));
        let thread = std::thread::spawn(move || server.serve(app, &ours));
        Self { path, stop, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes, ends the sending side, and reads all that comes back.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Three peers send `bytes` for ever behind `first`, and read what comes; good requests are answered meanwhile.
    #[track_caller]
    pub(crate) fn assert_serves_beside_floods(&self, first: &[u8], bytes: &[u8], ask: impl Fn()) {
        let over = AtomicBool::new(false);
        let floods = [self.connect(), self.connect(), self.connect()];
        std::thread::scope(|scope| {
            for flood in &floods {
                let over = &over;
                scope.spawn(move || {
                    let mut flood = flood;
                    let _ = flood.write_all(first);
                    while !over.load(Ordering::Relaxed) && flood.write_all(bytes).is_ok() {}
                });
                scope.spawn(move || {
                    let (mut flood, mut block) = (flood, vec![0; 65536]);
                    while flood.read(&mut block).is_ok_and(|count| count > 0) {}
                });
            }
            let answered = catch_unwind(AssertUnwindSafe(|| (0..20).for_each(|_| ask())));
            over.store(true, Ordering::Relaxed);
            floods.iter().for_each(|flood| drop(flood.shutdown(Shutdown::Both)));
            answered.unwrap_or_else(|cause| resume_unwind(cause));
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
        assert!(!self.path.exists(), "the socket file is gone with its server");
    }
}

/// A FastCGI request, record by record.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) id: u16,
    pub(crate) role: Role,
    pub(crate) keep_conn: bool,
    pub(crate) params: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(crate) fn new(params: &[(&'a str, &'a str)], body: &'a [u8]) -> Self {
        Self { id: 1, role: Role::RESPONDER, keep_conn: true, params: params.to_vec(), body }
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        encode::begin_request(&mut wire, self.id, self.role, self.keep_conn);
        let pairs = self.params.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        encode::params(&mut wire, self.id, pairs).unwrap();
        wire
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut wire = self.head();
        encode::stream(&mut wire, Stream::Stdin, self.id, self.body);
        encode::stream_end(&mut wire, Stream::Stdin, self.id);
        wire
    }
}

/// Whether the tests shall run on the ready set of other systems than Linux.
pub(crate) fn portable() -> bool {
    std::env::var_os("GATEWRIGHT_TEST_READY").is_some_and(|model| model == "portable")
}

/// What came back for one request.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u16,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<ProtocolStatus>,
}

/// Texts, and the beginning of long ones only.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        let (stdout, stderr) = (short(&self.stdout), short(&self.stderr));
        write!(f, "Answer {} {:?} stdout \"{stdout}\" stderr \"{stderr}\"", self.id, self.status)
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A body in STDIN records of these lengths at most, and the one that ends it.
pub(crate) fn stdin_records(id: u16, body: &[u8], mut length: impl FnMut() -> usize) -> Vec<Vec<u8>> {
    let (mut records, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(length()));
        let mut record = Vec::new();
        encode::stream(&mut record, Stream::Stdin, id, now);
        records.push(record);
        rest = later;
    }
    let mut end = Vec::new();
    encode::stream_end(&mut end, Stream::Stdin, id);
    records.push(end);
    records
}

/// Decodes a whole answer stream; requests may be several.
pub(crate) fn answers(bytes: &[u8]) -> Vec<Answer> {
    let (mut decoder, mut input, mut all, mut open) = (ResponseDecoder::new(), bytes, Vec::new(), Vec::new());
    while let Some(event) = decoder.decode(&mut input).unwrap() {
        take(&mut open, event, &mut all);
    }
    all.extend(open);
    all
}

/// Reads answers until `count` are complete.
pub(crate) fn read_answers(stream: &mut impl Read, count: usize) -> Vec<Answer> {
    let (mut decoder, mut all, mut open) = (ResponseDecoder::new(), Vec::new(), Vec::new());
    let mut block = [0; 4096];
    while all.len() < count {
        let length = stream.read(&mut block).unwrap();
        assert!(length > 0, "the connection ended after {} of {count} answers, in {open:?}", all.len());
        let mut input = &block[..length];
        while let Some(event) = decoder.decode(&mut input).unwrap() {
            take(&mut open, event, &mut all);
        }
    }
    all
}

/// Several answers may come in turns.
fn take(open: &mut Vec<Answer>, event: ResponseEvent<'_>, all: &mut Vec<Answer>) {
    let (ResponseEvent::Stdout { id, .. }
    | ResponseEvent::Stderr { id, .. }
    | ResponseEvent::EndRequest { id, .. }) = event
    else {
        return;
    };
    let index = open.iter().position(|answer| answer.id == id).unwrap_or_else(|| {
        open.push(Answer { id, ..Answer::default() });
        open.len() - 1
    });
    match event {
        ResponseEvent::Stdout { data, .. } => open[index].stdout.extend_from_slice(data),
        ResponseEvent::Stderr { data, .. } => open[index].stderr.extend_from_slice(data),
        ResponseEvent::EndRequest { protocol_status, .. } => {
            open[index].status = Some(protocol_status);
            all.push(open.remove(index));
        }
        _ => {}
    }
}
