//! Why a call to a place of backups failed: in the store's own words, and as the kind that decides what to do next.
//!
//! Invariant: the text is one line, and has neither the raw answer of a store nor the path of an open file.

use object_store::Error as StoreError;
use std::error::Error;
use std::fmt;
use std::io;

/// Longer messages of a store are cut.
const MESSAGE_BYTES_MAX: usize = 300;

/// Codes of an S3 store that only another configuration can change.
const REFUSALS: [(&str, &str); 16] = [
    ("InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"),
    ("AccessDenied", "the credentials need to list, read and write there"),
    ("AllAccessDisabled", "ask the store's operator"),
    ("AccountProblem", "ask the store's operator"),
    ("InvalidToken", "check AWS_SESSION_TOKEN"),
    ("InvalidClientTokenId", "check AWS_ACCESS_KEY_ID"),
    ("ExpiredToken", "AWS_SESSION_TOKEN has expired"),
    ("NoSuchBucket", "make the bucket, or correct its name in --to or --from"),
    ("InvalidBucketName", "correct the bucket's name in --to or --from"),
    ("PermanentRedirect", "check AWS_REGION and AWS_ENDPOINT"),
    ("AuthorizationHeaderMalformed", "check AWS_REGION and AWS_ACCESS_KEY_ID"),
    ("IllegalLocationConstraintException", "check AWS_REGION"),
    ("RequestTimeTooSkewed", "set this machine's clock right"),
    ("RequestExpired", "set this machine's clock right"),
    ("NotSignedUp", "ask the store's operator"),
];

/// What a failure means to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    NotFound,
    AlreadyExists,
    /// The store does not know conditional writes.
    NotImplemented,
    /// Key, bucket, region or clock are wrong: at the first start a configuration error.
    Refused,
    NoSpace,
    /// The network, or a store that may work again later.
    Passing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFailure {
    pub kind: FailureKind,
    text: String,
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StoreFailure {
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// A failure of a directory.
    pub fn of_file_system(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => FailureKind::NotFound,
            io::ErrorKind::AlreadyExists => FailureKind::AlreadyExists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::NoSpace,
            _ => FailureKind::Passing,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<&StoreError> for StoreFailure {
    fn from(error: &StoreError) -> Self {
        let first: &(dyn Error + 'static) = error;
        let (mut chain, mut next) = (vec![first], first.source());
        while let Some(cause) = next {
            chain.push(cause);
            next = cause.source();
        }
        if let Some(io) = chain.iter().find_map(|cause| cause.downcast_ref::<io::Error>())
            && matches!(error, StoreError::Generic { store: "LocalFileSystem", .. } | StoreError::NotFound { .. })
        {
            return Self::of_file_system(io);
        }
        let texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
        let answer = texts.iter().find_map(|text| Answer::find(text));
        let kind = kind_of(error, answer.as_ref());
        let text = match &answer {
            Some(answer) => answer.text(),
            None => texts.iter().rev().find(|text| !text.is_empty()).map_or_else(String::new, |text| one_line(text)),
        };
        Self { kind, text }
    }
}

fn kind_of(error: &StoreError, answer: Option<&Answer>) -> FailureKind {
    let code = answer.and_then(|answer| answer.code.as_deref());
    match error {
        _ if code.is_some_and(|code| hint(code).is_some()) => FailureKind::Refused,
        StoreError::NotFound { .. } => FailureKind::NotFound,
        StoreError::AlreadyExists { .. } => FailureKind::AlreadyExists,
        StoreError::NotImplemented { .. } => FailureKind::NotImplemented,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => FailureKind::Refused,
        _ => match answer.map_or("", |answer| answer.status.as_str()).get(..3) {
            Some("401" | "403") => FailureKind::Refused,
            Some("507") => FailureKind::NoSpace,
            _ => FailureKind::Passing,
        },
    }
}

fn hint(code: &str) -> Option<&'static str> {
    REFUSALS.iter().find(|(known, _)| *known == code).map(|(_, hint)| *hint)
}

/// An answer of an S3 store that is no success.
struct Answer {
    /// As in `403 Forbidden`.
    status: String,
    code: Option<String>,
    message: Option<String>,
}

impl Answer {
    /// Finds the answer in the text of an error, in which the HTTP client wraps it.
    fn find(text: &str) -> Option<Self> {
        let status = text.split_once("status code: ").map(|(_, rest)| rest.split(": ").next().unwrap_or(rest));
        let code = element(text, "Code");
        if status.is_none() && code.is_none() {
            return None;
        }
        let status = one_line(status.unwrap_or_default().trim_end_matches(':'));
        Some(Self { status, code, message: element(text, "Message") })
    }

    fn text(&self) -> String {
        let Self { status, code, message } = self;
        let mut text = match (code, message) {
            (Some(code), Some(message)) => format!("the store answered {code}: {message}"),
            (Some(code), None) => format!("the store answered {code}"),
            (None, _) => "the store answered".to_owned(),
        };
        if !status.is_empty() {
            text += &if code.is_some() { format!(" ({status})") } else { format!(" {status}") };
        }
        match code.as_deref().and_then(hint) {
            Some(hint) => format!("{text}; {hint}"),
            None => text,
        }
    }
}

/// The text of an XML element.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = content.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(one_line(&plain.replace("&amp;", "&"))).filter(|text| !text.is_empty())
}

/// Without line breaks and other control characters, and not longer than a line.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");
    let end = (0..=line.len().min(MESSAGE_BYTES_MAX)).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> StoreFailure {
        let source: Box<dyn Error + Send + Sync> = text.to_owned().into();
        StoreFailure::from(&StoreError::Generic { store: "S3", source })
    }

    #[test]
    fn an_answer_is_its_code_and_message_and_not_its_xml() {
        let failure = generic(
            "Error performing PUT http://h/b/k in 2ms - Server returned non-2xx status code: 403 Forbidden: <?xml \
             version=\"1.0\"?>\n<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between\nthe request \
             time &amp; now is too large.</Message></Error>",
        );
        assert_eq!(
            failure.to_string(),
            "the store answered RequestTimeTooSkewed: The difference between the request time & now is too large. \
             (403 Forbidden); set this machine's clock right"
        );
        assert_eq!(failure.kind, FailureKind::Refused);
        for (text, kind, shown) in [
            ("status code: 403 Forbidden: ", FailureKind::Refused, "the store answered 403 Forbidden"),
            (
                "status code: 507 Insufficient Storage: ",
                FailureKind::NoSpace,
                "the store answered 507 Insufficient Storage",
            ),
            (
                "status code: 503 Service Unavailable: <Code>SlowDown</Code>",
                FailureKind::Passing,
                "the store answered SlowDown (503 Service Unavailable)",
            ),
            ("connection\nrefused", FailureKind::Passing, "connection refused"),
        ] {
            let failure = generic(text);
            assert_eq!((failure.kind, failure.to_string().as_str()), (kind, shown));
        }
    }

    #[test]
    fn a_bucket_that_is_missing_is_no_object_that_is_missing() {
        let of = |code: &str| {
            let source = format!("status code: 404 Not Found: <Code>{code}</Code>").into();
            StoreFailure::from(&StoreError::NotFound { path: "BACKUP".to_owned(), source }).kind
        };
        assert_eq!((of("NoSuchBucket"), of("NoSuchKey")), (FailureKind::Refused, FailureKind::NotFound));
    }
}
