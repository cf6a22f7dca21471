//! A peer that speaks HTTP/2 frame by frame: as well or as badly as a test wants, where no library would.

use std::net::SocketAddr;

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// The same.
pub const HEADERS: u8 = 1;
/// The same.
pub const PRIORITY: u8 = 2;
/// The same.
pub const RST_STREAM: u8 = 3;
/// The same.
pub const SETTINGS: u8 = 4;
/// The same.
pub const PING: u8 = 6;
/// The same.
pub const WINDOW_UPDATE: u8 = 8;
/// The same.
pub const CONTINUATION: u8 = 9;
/// A flag of HEADERS: no more of them come.
pub const END_HEADERS: u8 = 4;
/// A flag of DATA: no more of it comes.
pub const END_STREAM: u8 = 1;

/// A flag of SETTINGS and PING: it is an answer.
const ACK: u8 = 1;
/// Bytes of DATA that every server takes in one frame.
const MAX_FRAME: usize = 16_384;

/// Adds a frame.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame is small");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The headers of a call, in HPACK without tables.
#[must_use]
pub fn headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).expect("a path is short")];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x06sluice");
    block.extend_from_slice(b"\x0f\x10\x10application/grpc");
    block.extend_from_slice(b"\x00\x02te\x08trailers");
    block
}

/// Adds a call that begins: its headers, and of what it says so many bytes.
pub fn begin_call(out: &mut Vec<u8>, stream: u32, path: &str, message: &impl Message, bytes: usize) {
    frame(out, HEADERS, END_HEADERS, stream, &headers(path));
    let mut body = body(message);
    let is_whole = bytes >= body.len();
    body.truncate(bytes);
    let pieces = body.len().div_ceil(MAX_FRAME);
    for (number, piece) in body.chunks(MAX_FRAME).enumerate() {
        let is_last = is_whole && number + 1 == pieces;
        frame(out, DATA, if is_last { END_STREAM } else { 0 }, stream, piece);
    }
}

/// Adds the message of a call of which only the headers were said, and its end.
pub fn end_call(out: &mut Vec<u8>, stream: u32, message: &impl Message) {
    frame(out, DATA, END_STREAM, stream, &body(message));
}

/// A message as it stands in a call: uncompressed, with its length before it.
fn body(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("a message is small").to_be_bytes());
    body.extend(message);
    body
}

/// A connection from an address of this machine, which begins with these settings (id, value).
///
/// # Errors
/// When it cannot be made.
pub async fn connect(
    server: SocketAddr,
    from: [u8; 4],
    settings: &[(u16, u32)],
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect(server).await?;
    let mut out = PREFACE.to_vec();
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(&mut out, SETTINGS, 0, 0, &payload);
    stream.write_all(&out).await?;
    Ok(stream)
}

/// Answers the other end's settings: until then what it takes ahead is 64 KiB, whatever it says there.
///
/// # Errors
/// When the other end hangs up.
pub async fn greet(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let (kind, flags, _) = read_frame(stream).await?;
        if (kind, flags & ACK) == (SETTINGS, 0) {
            let mut out = Vec::new();
            frame(&mut out, SETTINGS, ACK, 0, b"");
            return stream.write_all(&out).await;
        }
    }
}

/// Keeps a connection as one must: answers settings and pings, and lets all else pass. Windows stay as they are: once they
/// are full, nothing more is read of any call. Ends when the other end does.
pub async fn keep(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let (kind, flags, payload) = read_frame(&mut stream).await?;
        let mut out = Vec::new();
        match (kind, flags & ACK) {
            (SETTINGS, 0) => frame(&mut out, SETTINGS, ACK, 0, b""),
            (PING, 0) => frame(&mut out, PING, ACK, 0, &payload),
            _ => continue,
        }
        stream.write_all(&out).await?;
    }
}

/// The next frame: its kind, its flags, and what it says.
async fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, u8, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("a frame is small")];
    stream.read_exact(&mut payload).await?;
    Ok((header[3], header[4], payload))
}
