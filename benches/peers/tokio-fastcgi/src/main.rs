//! The comparison's application on tokio-fastcgi, after its example: a task for each connection. `tokio-fastcgi-peer PATH`.

use std::io::Read;

use tokio::net::UnixListener;
use tokio::net::unix::OwnedWriteHalf;
use tokio_fastcgi::{Error, Request, RequestResult, Requests};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("write tokio-fastcgi-peer PATH")?;
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut requests = Requests::from_split_socket(stream.into_split(), 10, 10);
            while let Ok(Some(request)) = requests.next().await {
                let answered = request.process(|request| async move {
                    match answer(&request).await {
                        Ok(()) => RequestResult::Complete(0),
                        Err(_) => RequestResult::Complete(1),
                    }
                });
                if answered.await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn answer(request: &Request<OwnedWriteHalf>) -> Result<(), Error> {
    let fixed = request.get_param("REQUEST_URI").and_then(|path| answers::fixed(path));
    let counted;
    let body = match fixed {
        Some(body) => body,
        None => {
            counted = std::io::copy(&mut request.get_stdin().by_ref(), &mut std::io::sink())?.to_string();
            counted.as_bytes()
        }
    };
    let head = format!("Content-Type: {}\r\nContent-Length: {}\r\n\r\n", answers::CONTENT_TYPE, body.len())
        .into_bytes();
    let mut out = request.get_stdout();
    // A small answer in one record, as one would write it by hand.
    if body.len() < 4096 {
        out.write(&[head.as_slice(), body].concat()).await?;
    } else {
        out.write(&head).await?;
        out.write(body).await?;
    }
    Ok(())
}
