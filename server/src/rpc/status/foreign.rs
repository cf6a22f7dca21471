//! The statuses that tonic makes itself, in our words.
//!
//! tonic answers what it cannot read before a handler sees it: too long, malformed, unknown. Its codes
//! (OUT_OF_RANGE, INTERNAL) are not the contract's, and it gives no details.

use tonic::{Code, Status};

use super::Failure;

/// What a status that is not ours means; none: it is ours, or says all there is to say.
pub(crate) fn adopt(status: &Status) -> Option<Failure> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => Some(Failure::RequestTooLarge),
        Code::Unimplemented => Some(Failure::UnknownMethod),
        // All of our own carry details: this is tonic's word for a request it cannot decode.
        Code::Internal | Code::InvalidArgument => {
            Some(Failure::RequestMalformed(status.message().to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: &Status) -> Option<&'static str> {
        adopt(status).map(|f| f.kind().reason)
    }

    #[test]
    fn what_tonic_says_is_said_in_the_contracts_words() {
        assert_eq!(kind(&Status::out_of_range("too large")), Some("REQUEST_TOO_LARGE"));
        assert_eq!(kind(&Status::unimplemented("")), Some("UNKNOWN_METHOD"));
        assert_eq!(kind(&Status::internal("failed to decode")), Some("REQUEST_MALFORMED"));
    }

    #[test]
    fn our_own_words_stay() {
        assert_eq!(kind(&Failure::Internal.into()), None);
        assert_eq!(kind(&Status::not_found("unknown service")), None);
    }
}
