//! CGI programs, by as little as it takes: a thread for each connection, posix_spawn (by `Command`, which uses it while it
//! is asked for nothing more), a pipe each way. No time-out, no limit, no error text; a program that answers before it
//! has read its input is not known.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::{ffi::OsStr, thread};

use crate::parse::{BEGIN, Framing, PARAMS, STDIN, param, params};

/// As many connections as are served at once.
const THREADS: usize = 64;

/// What is copied at once.
const PIECE: usize = 64 << 10;

/// Serves programs of that folder for ever.
pub fn serve(framing: Framing, listener: UnixListener, folder: PathBuf) {
    let shared = Arc::new((listener, folder));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (listener, folder) = &*shared;
                let mut buffer = vec![0; PIECE];
                loop {
                    let Ok((mut stream, _)) = listener.accept() else { continue };
                    // Whatever is wrong with a connection, it closes.
                    let _ = match framing {
                        Framing::Http => http(&mut stream, folder, &mut buffer),
                        _ => fcgi(&mut stream, folder, &mut buffer),
                    };
                }
            })
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
}

fn unknown() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

fn start(command: &mut Command, body: bool) -> io::Result<Child> {
    command.stdin(if body { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).spawn()
}

fn program(folder: &Path, path: &[u8]) -> io::Result<Command> {
    let name = path.strip_prefix(b"/").ok_or_else(unknown)?;
    let mut command = Command::new(folder.join(OsStr::from_bytes(name)));
    command.env_clear();
    Ok(command)
}

fn fcgi(stream: &mut UnixStream, folder: &Path, buffer: &mut [u8]) -> io::Result<()> {
    let mut input = io::BufReader::with_capacity(PIECE, stream.try_clone()?);
    let (mut pairs, mut child, mut keep) = (Vec::new(), None::<Child>, false);
    loop {
        let mut head = [0; 8];
        input.read_exact(&mut head)?;
        let [1, kind, _, _, high, low, padding, _] = head else { return Err(unknown()) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let content = &mut buffer[..length + usize::from(padding)];
        input.read_exact(content)?;
        let content = &content[..length];
        match kind {
            BEGIN => keep = content[2] & 1 == 1,
            PARAMS if length > 0 => pairs.extend_from_slice(content),
            PARAMS => {
                let path = param(&pairs, b"SCRIPT_NAME").ok_or_else(unknown)?;
                let mut command = program(folder, path)?;
                for (name, value) in params(&pairs) {
                    command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
                }
                let body = param(&pairs, b"CONTENT_LENGTH").is_some_and(|length| !length.is_empty());
                child = Some(start(&mut command, body)?);
            }
            STDIN if length > 0 => {
                let pipe = child.as_mut().and_then(|child| child.stdin.as_mut()).ok_or_else(unknown)?;
                pipe.write_all(content)?;
            }
            STDIN => {
                records(child.take().ok_or_else(unknown)?, stream, buffer)?;
                if !keep {
                    return Ok(());
                }
                pairs.clear();
            }
            _ => return Err(unknown()),
        }
    }
}

/// The program's output, each piece with its head in one write; the last with the request's end.
fn records(mut child: Child, stream: &mut UnixStream, buffer: &mut [u8]) -> io::Result<()> {
    const END: [u8; 24] = [1, 6, 0, 1, 0, 0, 0, 0, 1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    drop(child.stdin.take());
    let mut output = child.stdout.take().ok_or_else(unknown)?;
    let room = PIECE - END.len();
    let mut got = output.read(&mut buffer[8..room])?;
    while got > 0 {
        let length = (got as u16).to_be_bytes();
        buffer[..8].copy_from_slice(&[1, 6, 0, 1, length[0], length[1], 0, 0]);
        if got < room - 8 {
            // Perhaps the last: its end tells.
            let more = output.read(&mut buffer[8 + got..room])?;
            if more == 0 {
                buffer[8 + got..8 + got + END.len()].copy_from_slice(&END);
                stream.write_all(&buffer[..8 + got + END.len()])?;
                child.wait()?;
                return Ok(());
            }
            got += more;
            continue;
        }
        stream.write_all(&buffer[..8 + got])?;
        got = output.read(&mut buffer[8..room])?;
    }
    stream.write_all(&END)?;
    child.wait()?;
    Ok(())
}

fn http(stream: &mut UnixStream, folder: &Path, buffer: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    loop {
        let more = stream.read(&mut buffer[got..])?;
        if more == 0 {
            return Ok(());
        }
        got += more;
        let Some(head) = crate::parse::http(&buffer[..got]).map_err(|_| unknown())? else { continue };
        let (end, length, request) = head;
        let mut command = program(folder, &request.path)?;
        variables(&buffer[..end], &mut command);
        let mut child = start(&mut command, length > 0)?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(&buffer[end..got])?;
            let mut left = length.saturating_sub((got - end) as u64);
            while left > 0 {
                let more = stream.read(&mut buffer[..])?;
                if more == 0 {
                    return Err(unknown());
                }
                pipe.write_all(&buffer[..more])?;
                left = left.saturating_sub(more as u64);
            }
        }
        plain(child, stream, buffer)?;
        if !request.keep {
            return Ok(());
        }
        got = 0;
    }
}

fn variables(head: &[u8], command: &mut Command) {
    command.env("GATEWAY_INTERFACE", "CGI/1.1").env("SERVER_PROTOCOL", "HTTP/1.1");
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name: String = line[..colon]
            .iter()
            .map(|byte| if *byte == b'-' { '_' } else { byte.to_ascii_uppercase() as char })
            .collect();
        let value = OsStr::from_bytes(line[colon + 1..].trim_ascii());
        match name.as_str() {
            "CONTENT_LENGTH" | "CONTENT_TYPE" => command.env(name, value),
            _ => command.env(format!("HTTP_{name}"), value),
        };
    }
}

/// The program's output behind a status line: it tells its length itself.
fn plain(mut child: Child, stream: &mut UnixStream, buffer: &mut [u8]) -> io::Result<()> {
    const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let mut output = child.stdout.take().ok_or_else(unknown)?;
    buffer[..STATUS.len()].copy_from_slice(STATUS);
    let mut start = STATUS.len();
    loop {
        let got = output.read(&mut buffer[start..])?;
        if got == 0 {
            break;
        }
        stream.write_all(&buffer[..start + got])?;
        start = 0;
    }
    child.wait()?;
    Ok(())
}
