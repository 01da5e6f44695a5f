//! The outcome of one reconciliation rule.

/// A rule, the figures that it was checked against, and where it does not hold.
#[derive(Debug)]
pub(super) struct Finding {
    pub rule: &'static str,
    pub figures: String,
    pub breaks: Vec<String>,
}

impl Finding {
    pub(super) fn new(rule: &'static str, figures: String, breaks: Vec<String>) -> Self {
        Self { rule, figures, breaks }
    }
}
