//! Finds out who calls, before anything of the call is read: by a bearer token, or by the certificate of the
//! connection. Whoever is nobody, or may never do such a thing, gets no further. Streams end when what their
//! caller may do changes.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{Either, Map};
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::caller::Caller;
use super::ending::Ending;
use super::is_health;
use super::notice::Notice;
use super::refusal::Refusal;
use crate::auth::{Access, Auth, Credential, Ended, Right};
use crate::rpc::right::{Need, is_stream, need};
use crate::rpc::status::Failure;

/// Lets nobody in whom it does not know.
#[derive(Clone)]
pub(super) struct IdentifyService<S> {
    inner: S,
    auth: Auth,
    refused: Arc<Notice>,
}

impl<S> IdentifyService<S> {
    pub(super) fn new(inner: S, auth: Auth) -> IdentifyService<S> {
        IdentifyService { inner, auth, refused: Arc::new(Notice::new()) }
    }

    /// What the caller may do; why not, when it may not make this call at all.
    fn access(&self, request: &Request<Body>) -> Result<Access, Failure> {
        let path = request.uri().path();
        let shown = Credential::of(request.headers(), request.extensions());
        let access = shown.and_then(|credential| self.auth.access(credential));
        let Some(access) = access else {
            if let Some(left_out) = self.refused.take() {
                let caller = Caller::of(request.extensions());
                tracing::info!(%caller, left_out, "call without a valid token or certificate");
            }
            return Err(Failure::Unauthenticated);
        };
        match need(path) {
            Some(Need::Identity) => Ok(access),
            Some(Need::Right(any_of)) if access.may_somewhere(any_of) => Ok(access),
            Some(Need::Right(any_of)) => Err(Failure::PermissionDenied(any_of)),
            // What nobody has thought of is nobody's right.
            None => Err(Failure::PermissionDenied(Right::Admin.into())),
        }
    }
}

type Done<E> = Box<dyn FnOnce(Result<Response<Body>, E>) -> Result<Response<Body>, E> + Send>;

impl<S> Service<Request<Body>> for IdentifyService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Either<Map<S::Future, Done<S::Error>>, Refusal<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if is_health(&request) {
            return Either::Left(self.inner.call(request));
        }
        if self.auth.is_open() {
            request.extensions_mut().insert(Access::open());
            return Either::Left(self.inner.call(request));
        }
        let access = match self.access(&request) {
            Ok(access) => access,
            Err(failure) => return Either::Right(Either::Right(Refusal::of(request, failure))),
        };
        if let Some(principal) = access.principal() {
            tracing::Span::current().record("principal", &**principal);
            request.extensions_mut().insert(Caller::principal(principal));
        }
        request.extensions_mut().insert(access.clone());
        if !is_stream(request.uri().path()) {
            return Either::Left(self.inner.call(request));
        }
        let done: Done<S::Error> = Box::new(|answer| {
            let end = access.ended().map(Failure::from).boxed();
            answer.map(|response| response.map(|body| Ending::at_once(body, end)))
        });
        Either::Right(Either::Left(self.inner.call(request).map(done)))
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Failure {
        match ended {
            Ended::Revoked => Failure::Unauthenticated,
            Ended::Changed => Failure::RightsChanged,
        }
    }
}
