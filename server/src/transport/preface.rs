//! The first bytes of HTTP/2, which each caller sends: read here, for there they have a deadline. hyper would wait for
//! the rest of them for ever.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the preface, and nothing beyond it.
///
/// # Errors
/// When the connection ends before, or begins otherwise.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut begin = [0; PREFACE.len()];
    let mut len = 0;
    while len < begin.len() {
        let read = stream.read(&mut begin[len..]).await?;
        len += read;
        if read == 0 || begin[..len] != PREFACE[..len] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn preface_is_read_in_pieces_and_nothing_beyond_it() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let reading = tokio::spawn(async move {
            read(&mut ours).await.unwrap();
            ours
        });
        for piece in [&PREFACE[..1], &PREFACE[1..20], &PREFACE[20..]] {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.write_all(b"settings").await.unwrap();
        drop(theirs);
        let mut rest = Vec::new();
        reading.await.unwrap().read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"settings");
    }

    #[tokio::test]
    async fn whoever_begins_otherwise_or_ends_is_refused_at_once() {
        for said in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/1", b"P"] {
            let (mut ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(said).await.unwrap();
            theirs.shutdown().await.unwrap();
            assert!(read(&mut ours).await.is_err());
        }
    }
}
