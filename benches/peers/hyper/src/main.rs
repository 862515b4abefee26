//! The comparison's application on hyper: `hyper-peer PATH`, one thread, the application inline; `hyper-peer PATH blocking`,
//! as a blocking application has to be called there, on tokio's threads for that.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [path] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, inline(path.as_ref()))
        }
        [path, word] if word == "blocking" => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(blocking(path.as_ref())),
        _ => Err("write hyper-peer PATH, or hyper-peer PATH blocking".into()),
    }
}

async fn inline(path: &Path) -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            let answer = |request: Request<Incoming>| async {
                let (head, body) = request.into_parts();
                Ok::<_, Infallible>(respond(head.uri.path(), length(body).await))
            };
            // Whatever is wrong with a connection, it closes.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn blocking(path: &Path) -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let answer = |request: Request<Incoming>| async {
                let (head, body) = request.into_parts();
                let length = length(body).await;
                tokio::task::spawn_blocking(move || respond(head.uri.path(), length)).await
            };
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

fn respond(path: &str, length: usize) -> Response<Full<Bytes>> {
    let body = match answers::fixed(path.as_bytes()) {
        Some(body) => Bytes::from_static(body),
        None => Bytes::from(length.to_string()),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answers::CONTENT_TYPE));
    response
}

/// The length of a body, or of what came of it.
async fn length(mut body: Incoming) -> usize {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}
