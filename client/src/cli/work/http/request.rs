//! A job as a request. Knows nothing of connections.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
    uri::Scheme,
};
use http_body_util::Full;

use super::header::{IDEMPOTENCY_KEY, OF_SLUICE, value};
use crate::proto::Job;

const QUEUE: HeaderName = HeaderName::from_static("x-sluice-queue");
const KEY: HeaderName = HeaderName::from_static("x-sluice-key");
const ATTEMPT: HeaderName = HeaderName::from_static("x-sluice-attempt");
const UNKNOWN_CONTENT: HeaderValue = HeaderValue::from_static("application/octet-stream");
const OUR_NAME: HeaderValue = HeaderValue::from_static(concat!("sluice/", env!("CARGO_PKG_VERSION")));

/// Where jobs go, and what every request says.
#[derive(Debug)]
pub(super) struct Target {
    url: Uri,
    own: HeaderMap,
}

impl Target {
    /// An error does not repeat the URL: there may be a secret in it.
    pub(super) fn new(url: &str, own: HeaderMap) -> Result<Target, String> {
        let url: Uri = url.parse().map_err(|error| format!("--http is not a URL: {error}"))?;
        if url.scheme() == Some(&Scheme::HTTPS) {
            return Err("--http speaks http:// only; for https:// go through a proxy at hand, or use --exec with curl"
                .to_owned());
        }
        let host = url.authority().filter(|authority| !authority.host().is_empty());
        let Some(authority) = host.filter(|_| url.scheme() == Some(&Scheme::HTTP)) else {
            return Err("--http is not a URL such as http://127.0.0.1:8080/hook".to_owned());
        };
        if authority.as_str().contains('@') {
            return Err(
                "--http takes no name or password in its URL: say --header 'Authorization: …'".to_owned()
            );
        }
        Ok(Target { url, own })
    }

    pub(super) fn request(&self, job: &Job) -> Request<Full<Bytes>> {
        let payload = job.payload.clone().unwrap_or_default();
        let mut headers = self.headers(job);
        if payload.is_empty() {
            // hyper says no length of a body that is none; there are services that refuse such a POST (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(Full::new(payload));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        request
    }

    fn headers(&self, job: &Job) -> HeaderMap {
        let mut headers = self.own.clone();
        headers.entry(USER_AGENT).or_insert(OUR_NAME);
        headers.entry(CONTENT_TYPE).or_insert_with(|| content_type(job));
        headers.insert(IDEMPOTENCY_KEY, value(&job.job_id));
        headers.insert(QUEUE, value(&job.queue));
        if !job.key.is_empty() {
            headers.insert(KEY, value(&job.key));
        }
        headers.insert(ATTEMPT, HeaderValue::from(u64::from(job.attempts) + 1));
        // In an order, for names that differ only in capitals: the header comes once for each.
        let mut labels: Vec<_> = job.labels.iter().collect();
        labels.sort_unstable();
        for (name, text) in labels {
            if let Ok(name) = HeaderName::try_from(format!("{OF_SLUICE}label-{name}")) {
                headers.append(name, value(text));
            }
        }
        headers
    }
}

fn content_type(job: &Job) -> HeaderValue {
    match HeaderValue::from_str(&job.content_type) {
        Ok(content_type) if !content_type.is_empty() => content_type,
        _ => UNKNOWN_CONTENT,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const URL: &str = "http://127.0.0.1:8080/hook?a=b";

    fn headers(own: &[(&'static str, &'static str)], job: &Job) -> HeaderMap {
        let own =
            own.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Target::new(URL, own.collect()).unwrap().request(job).headers().clone()
    }

    #[test]
    fn job_is_told_in_headers() {
        let job = Job {
            payload: Some("hello".into()),
            job_id: "42".to_owned(),
            queue: "mail".to_owned(),
            key: "a/ü".to_owned(),
            attempts: 1,
            content_type: "application/json".to_owned(),
            labels: HashMap::from([("event".to_owned(), "push ü".to_owned())]),
            ..Job::default()
        };
        let expected = [
            ("content-type", "application/json"),
            ("idempotency-key", "42"),
            ("user-agent", concat!("sluice/", env!("CARGO_PKG_VERSION"))),
            ("x-sluice-attempt", "2"),
            ("x-sluice-key", "a/%C3%BC"),
            ("x-sluice-label-event", "push %C3%BC"),
            ("x-sluice-queue", "mail"),
        ];
        let headers = headers(&[], &job);
        let mut told: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        told.sort_unstable();
        assert_eq!(told, expected);
    }

    #[test]
    fn request_posts_to_the_url() {
        let request = Target::new(URL, HeaderMap::new()).unwrap().request(&Job::default());
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, URL));
    }

    #[test]
    fn job_that_says_little_has_few_headers() {
        let headers = headers(&[], &Job::default());
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert!(!headers.contains_key("x-sluice-key"));
        let wrong = Job { content_type: "a\nb".to_owned(), ..Job::default() };
        assert_eq!(content_type(&wrong), UNKNOWN_CONTENT);
    }

    #[test]
    fn own_headers_go_before_those_that_are_usual() {
        let own = [("content-type", "text/plain"), ("user-agent", "me"), ("authorization", "secret")];
        let job = Job { content_type: "application/json".to_owned(), ..Job::default() };
        let headers = headers(&own, &job);
        for (name, value) in own {
            assert_eq!(headers[name], value);
        }
    }

    #[test]
    fn label_that_is_no_name_is_left_out_and_names_alike_both_come() {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels =
            HashMap::from([label("git hub", "x"), label("ü", "x"), label("A", "1"), label("a", "2")]);
        let headers = headers(&[], &Job { labels, ..Job::default() });
        let labels: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().contains("label")).collect();
        assert_eq!(labels.len(), 2);
        assert_eq!(headers.get_all("x-sluice-label-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn only_plain_http_urls_are_taken() {
        let refused = |url: &str| Target::new(url, HeaderMap::new()).unwrap_err();
        assert!(refused("https://example.com/").contains("http:// only"));
        for url in ["", "/hook", "example.com", "ftp://example.com/", "http://", "http://:80/", "a b"] {
            assert!(refused(url).contains("not a URL"), "{url}: {}", refused(url));
        }
        let said = refused("http://me:secret@example.com/");
        assert!(said.contains("--header") && !said.contains("secret"), "{said}");
        for url in ["http://example.com", "http://[::1]:80/x", "HTTP://example.com/"] {
            assert!(Target::new(url, HeaderMap::new()).is_ok(), "{url}");
        }
    }
}
