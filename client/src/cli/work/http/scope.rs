//! Which level a service says that it was too much for, by a header of its answer. Knows nothing of statuses.

use http::{HeaderMap, HeaderName};

/// Segments that a key has at most.
const MAX_SEGMENTS: u8 = 3;

/// The number of key segments that the header `name` says, as the server is to be told it. Empty when it says none, or
/// what cannot be: the server then takes the job's key, and would refuse the rest.
pub(super) fn throttle_scope(headers: &HeaderMap, name: Option<&HeaderName>) -> String {
    let value = name.and_then(|name| headers.get(name)).and_then(|value| value.to_str().ok());
    let segments = value.and_then(|value| value.trim().parse::<u8>().ok());
    segments
        .filter(|segments| *segments <= MAX_SEGMENTS)
        .map_or_else(String::new, |segments| segments.to_string())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-scope");

    fn said(value: &'static str) -> String {
        let headers = HeaderMap::from_iter([(NAME, HeaderValue::from_static(value))]);
        throttle_scope(&headers, Some(&NAME))
    }

    #[test]
    fn number_of_segments_is_the_scope() {
        assert_eq!(["0", "1", " 2 ", "03"].map(said), ["0", "1", "2", "3"]);
    }

    #[test]
    fn anything_else_says_nothing() {
        assert_eq!(["", "4", "256", "-1", "1.0", "chat"].map(said), [""; 6]);
        assert_eq!(throttle_scope(&HeaderMap::new(), Some(&NAME)), "");
        let headers = HeaderMap::from_iter([(NAME, HeaderValue::from_static("1"))]);
        assert_eq!(throttle_scope(&headers, None), "");
    }
}
