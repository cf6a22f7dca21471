//! Headers: those that the user gives for every request, and how a text of a job becomes a value. Knows nothing of
//! jobs.

use std::{fmt, fs};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one's own. Services read about a hundred in all.
const MAX_OWN: usize = 64;
/// What the connection says for itself: two voices would make a request that nobody understands.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];
/// What is said of each job.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const OF_SLUICE: &str = "x-sluice-";

/// A header as an argument, or `@FILE`. It may be a secret: nothing shows it.
#[derive(Clone)]
pub(super) struct Own(String);

impl Own {
    /// Never fails: whoever complains shows the argument.
    #[expect(clippy::unnecessary_wraps, reason = "the form of clap's parsers")]
    pub(super) fn read(text: &str) -> Result<Own, String> {
        Ok(Own(text.to_owned()))
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

/// The headers of all arguments, in their order. An error names no value.
pub(super) fn own(arguments: &[Own]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for Own(argument) in arguments {
        if let Some(path) = argument.strip_prefix('@') {
            let text = fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                add(&mut headers, line)?;
            }
        } else {
            add(&mut headers, argument)?;
        }
    }
    Ok(headers)
}

fn add(headers: &mut HeaderMap, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once(':').ok_or("write a header as 'Name: value'")?;
    let name = HeaderName::try_from(name.trim())
        .map_err(|_| "a header's name has a character that none can have")?;
    if OF_THE_CONNECTION.contains(&name) {
        return Err(format!("header {name}: the connection says it for itself"));
    }
    if name == IDEMPOTENCY_KEY || name.as_str().starts_with(OF_SLUICE) {
        return Err(format!("header {name}: it is said of each job"));
    }
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("header {name}: its value has a character that none can have"))?;
    value.set_sensitive(true);
    if headers.len() == MAX_OWN {
        return Err(format!("more than {MAX_OWN} headers"));
    }
    headers.append(name, value);
    Ok(())
}

/// A text as a value: what no value can hold, spaces at its ends, and `%` itself as `%XX` of their UTF-8, so that
/// every value can be decoded again.
pub(super) fn value(text: &str) -> HeaderValue {
    let last = text.len().saturating_sub(1);
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let inner_space = byte == b' ' && at != 0 && at != last;
        if inner_space || (byte.is_ascii_graphic() && byte != b'%') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    // Visible ASCII and spaces: every value can be that.
    HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn own_of(arguments: &[&str]) -> Result<HeaderMap, String> {
        let arguments: Vec<_> = arguments.iter().map(|argument| Own::read(argument).unwrap()).collect();
        own(&arguments)
    }

    #[test]
    fn value_that_can_be_sent_is_sent_as_it_is() {
        for text in ["", "push", "bot42/group/chat7", "a b  c", "{\"a\": [1, 2]}", "~!@#$^&*()"] {
            assert_eq!(value(text), text);
        }
    }

    #[test]
    fn what_no_value_can_hold_is_percent_encoded_and_so_is_the_percent_sign() {
        assert_eq!(value("grüße"), "gr%C3%BC%C3%9Fe");
        assert_eq!(value("a\r\nx-evil: 1\0"), "a%0D%0Ax-evil: 1%00");
        assert_eq!(value("50%"), "50%25");
        assert_eq!(value(" a "), "%20a%20");
        assert_eq!(value(" "), "%20");
        assert_eq!(value("\t\u{7f}"), "%09%7F");
    }

    #[test]
    fn own_headers_are_read_as_people_write_them() {
        let headers = own_of(&["Authorization: Bearer a:b", "x-empty:", "Accept:a", "accept: b "]).unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b");
        assert_eq!(headers["x-empty"], "");
        assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn own_headers_can_stand_in_a_file() {
        let mut file = std::env::temp_dir();
        file.push(format!("sluice-headers-{}", std::process::id()));
        writeln!(fs::File::create(&file).unwrap(), "authorization: secret\n\nx-a: b").unwrap();
        let headers = own_of(&[&format!("@{}", file.display())]);
        fs::remove_file(&file).unwrap();
        let headers = headers.unwrap();
        assert_eq!(
            (headers.len(), &headers["authorization"], &headers["x-a"]),
            (2, &"secret".parse().unwrap(), &"b".parse().unwrap())
        );
        assert!(own_of(&["@/nowhere"]).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn header_that_is_not_the_users_is_refused() {
        for name in ["Content-Length", "transfer-encoding", "Keep-Alive", "Idempotency-Key", "X-Sluice-Key"] {
            assert!(own_of(&[&format!("{name}: 1")]).is_err(), "{name}");
        }
        let many: Vec<_> = (0..=MAX_OWN).map(|n| format!("x-{n}: 1")).collect();
        assert!(own_of(&many.iter().map(String::as_str).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn nothing_shows_a_value() {
        for wrong in ["secret", "x y: secret", "x: secret\u{1}", "te: secret"] {
            assert!(!own_of(&[wrong]).unwrap_err().contains("secret"), "{wrong}");
        }
        assert!(!format!("{:?}", Own::read("x: secret")).contains("secret"));
        assert!(!format!("{:?}", own_of(&["x: secret"])).contains("secret"));
    }
}
