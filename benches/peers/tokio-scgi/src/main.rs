//! The comparison's application on tokio-scgi, after its example: a task for each connection. `tokio-scgi-peer PATH`.

use std::error::Error;

use futures::{SinkExt, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_scgi::server::{SCGICodec, SCGIRequest};
use tokio_util::codec::Framed;

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(std::env::args().nth(1).ok_or("write tokio-scgi-peer PATH")?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // Whatever is wrong with a request, its connection closes.
            let _ = answer(stream).await;
        });
    }
}

async fn answer(stream: UnixStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut framed = Framed::new(stream, SCGICodec::new());
    let Some(SCGIRequest::Request(head, first)) = framed.next().await.transpose()? else {
        return Err("no request".into());
    };
    let value = |wanted: &str| head.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let counted;
    let body = match answers::fixed(value("REQUEST_URI").unwrap_or_default().as_bytes()) {
        Some(body) => body,
        None => {
            let length: usize = value("CONTENT_LENGTH").ok_or("no CONTENT_LENGTH")?.parse()?;
            let mut got = first.len();
            while got < length {
                match framed.next().await.transpose()? {
                    Some(SCGIRequest::BodyFragment(more)) => got += more.len(),
                    _ => return Err("the body ends early".into()),
                }
            }
            counted = got.to_string();
            counted.as_bytes()
        }
    };
    let kind = answers::CONTENT_TYPE;
    let mut answer =
        format!("Status: 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    // The codec takes an answer as a whole.
    answer.extend_from_slice(body);
    Ok(framed.send(answer).await?)
}
