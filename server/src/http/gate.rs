//! Who may look at which page. What nobody has thought of is for those who may read everything.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::auth::{Access, Auth, Credential, Right};

/// Pages that tell nothing of queues: probes look at them.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// Pages that show each caller what it may read.
const FILTERED: [&str; 1] = ["/stats"];

/// Lets a request through to the pages, with what its maker may do, if it may look there at all.
pub(super) async fn guard(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) {
        return next.run(request).await;
    }
    let Some(access) = access(&auth, request.headers()) else { return unknown() };
    let may = match FILTERED.contains(&path) {
        true => access.may_somewhere(Right::Read),
        false => access.may_everywhere(Right::Read),
    };
    if !may {
        return (StatusCode::FORBIDDEN, "needs the right read\n").into_response();
    }
    request.extensions_mut().insert(access);
    next.run(request).await
}

fn access(auth: &Auth, headers: &HeaderMap) -> Option<Access> {
    if auth.is_open() {
        return Some(Access::open());
    }
    let shown = match basic(headers) {
        Some(bearer) => Credential::of(&bearer, &Extensions::new()),
        None => Credential::of(headers, &Extensions::new()),
    };
    auth.access(shown?)
}

/// A token that stands in the place of a password, as browsers send it; said as programs say it.
fn basic(headers: &HeaderMap) -> Option<HeaderMap> {
    const SCHEME: &str = "basic ";
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let said = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let at = said.iter().position(|byte| *byte == b':')?;
    let value = HeaderValue::from_bytes(&[b"Bearer ", &said[at + 1..]].concat()).ok()?;
    Some(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

fn unknown() -> Response {
    // A browser asks for a name, which does not matter, and a password, which is the token.
    let ask = [(WWW_AUTHENTICATE, "Basic realm=\"sluice\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "needs a token\n").into_response()
}
