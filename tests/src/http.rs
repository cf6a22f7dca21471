//! A page of the server's HTTP port.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Gets a page: its status and its body.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_as(address, path, None).await
}

/// Gets a page as somebody: with a value of the header `authorization`.
pub async fn get_as(address: SocketAddr, path: &str, authorization: Option<&str>) -> (u16, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    get_over(stream, path, authorization).await
}

/// Gets a page over a connection that is there.
pub async fn get_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    authorization: Option<&str>,
) -> (u16, String) {
    let authorization = authorization.map_or_else(String::new, |said| format!("authorization: {said}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nhost: sluice\r\n{authorization}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("an answer has a status"), body.to_owned())
}

/// Gets a page of JSON.
pub async fn json(address: SocketAddr, path: &str) -> serde_json::Value {
    let (status, body) = get(address, path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}
