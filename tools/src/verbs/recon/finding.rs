//! The outcome of one reconciliation rule.

/// A rule, the figures that it was checked against, and where it does not hold.
#[derive(Debug)]
pub struct Finding {
    pub rule: &'static str,
    pub figures: String,
    pub breaks: Vec<String>,
}

impl Finding {
    pub fn new(rule: &'static str, figures: String, breaks: Vec<String>) -> Self {
        Self { rule, figures, breaks }
    }
}
