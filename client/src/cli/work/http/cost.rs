//! What an answer says a request cost. Knows nothing of limits.

use http::{HeaderMap, HeaderName};

/// What a job may cost.
const MAX_COST: u32 = 1_000_000_000;

/// The value of a header as a cost; none when it is not there or is no whole number. What is more than a job may cost
/// is cut: it was used, and is to be repaid.
pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Option<u32> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too long for the type is only more of the same.
    is_number.then(|| text.parse().unwrap_or(MAX_COST).min(MAX_COST))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cost_is_a_whole_number_in_the_header() {
        let header = HeaderName::from_static("x-used-tokens");
        let of =
            |text| of(&HeaderMap::from_iter([(header.clone(), HeaderValue::from_static(text))]), &header);
        assert_eq!((of("0"), of(" 1200 ")), (Some(0), Some(1_200)));
        assert_eq!((of("1000000001"), of("99999999999999999999")), (Some(MAX_COST), Some(MAX_COST)));
        assert_eq!([of(""), of("-1"), of("+1"), of("1.5"), of("many")], [None; 5]);
        assert_eq!(super::of(&HeaderMap::new(), &header), None);
    }
}
