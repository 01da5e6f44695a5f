//! Refusals of the ops listener: `{"error": code, "detail": text}` with a matching HTTP status.

use crate::replica::questions::ShadowPortError;
use crate::rings::admin_port::AdminPortError;
use api::decimal::DecimalError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use book::reject::{AdminReason, RejectReason};
use serde_json::json;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: &'static str,
    pub detail: String,
    /// The logged command that the engine refused; `None` if no command was sent.
    pub seq: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, detail: String) -> Self {
        Self { status, error, detail, seq: None }
    }

    pub fn invalid(field: &str, why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", format!("{field}: {why}"))
    }

    pub fn decimal(field: &str, text: &str, error: DecimalError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", format!("{field}: {text:?}: {error}"))
    }

    pub fn unknown(field: &str, what: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", format!("{field}: there is no {what} {name:?}"))
    }

    pub fn unsupported(field: &str, why: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "unsupported", format!("{field}: {why}"))
    }

    pub fn body(status: StatusCode, detail: String) -> Self {
        Self::new(status, "invalid", detail)
    }

    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail.to_owned())
    }

    pub fn closed(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "closed", detail.to_owned())
    }

    pub fn no_such_endpoint() -> Self {
        let detail = "no such endpoint: see docs/ADMINISTRATION.md for the list".to_owned();
        Self::new(StatusCode::NOT_FOUND, "no_such_endpoint", detail)
    }

    pub fn internal(detail: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The node is being started, and has no state yet.
    pub fn recovering(how_far: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "recovering", how_far)
    }

    pub fn no_snapshot(why: String) -> Self {
        Self::new(StatusCode::CONFLICT, "no_snapshot", why)
    }

    pub fn rejected(reason: AdminReason, seq: u64) -> Self {
        let (status, error) = code_of(reason);
        // The engine loop refuses these without a record of them.
        let is_recorded =
            !matches!(reason, AdminReason::RulesUnknown | AdminReason::FormatTooOld | AdminReason::RulesTooOld);
        Self { seq: is_recorded.then_some(seq), ..Self::new(status, error, reason.to_string()) }
    }

    pub fn mass_cancel_rejected(reason: RejectReason, seq: u64) -> Self {
        let detail = format!("the engine refused the mass cancel: {reason:?}");
        Self { seq: Some(seq), ..Self::new(StatusCode::CONFLICT, "rejected", detail) }
    }
}

fn code_of(reason: AdminReason) -> (StatusCode, &'static str) {
    const UNKNOWN: StatusCode = StatusCode::NOT_FOUND;
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    const VALUE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    match reason {
        AdminReason::NameInvalid => (VALUE, "name_invalid"),
        AdminReason::NameTaken => (CONFLICT, "name_taken"),
        AdminReason::LimitReached => (CONFLICT, "limit_reached"),
        AdminReason::UnknownAsset => (UNKNOWN, "unknown_asset"),
        AdminReason::UnknownMarket => (UNKNOWN, "unknown_market"),
        AdminReason::UnknownAccount => (UNKNOWN, "unknown_account"),
        AdminReason::UnknownSession => (UNKNOWN, "unknown_session"),
        AdminReason::UnknownKey => (UNKNOWN, "unknown_key"),
        AdminReason::ScaleTooLarge => (VALUE, "scale_too_large"),
        AdminReason::SameAsset => (VALUE, "same_asset"),
        AdminReason::Inexact => (VALUE, "inexact"),
        AdminReason::OutOfRange => (VALUE, "out_of_range"),
        AdminReason::FeesNegative => (VALUE, "fees_negative"),
        AdminReason::InsufficientFunds => (CONFLICT, "insufficient_funds"),
        AdminReason::BalanceOverflow => (CONFLICT, "balance_overflow"),
        AdminReason::ReferenceConflict => (CONFLICT, "reference_conflict"),
        AdminReason::AmountZero => (VALUE, "amount_zero"),
        AdminReason::ReferenceMissing => (VALUE, "reference_missing"),
        AdminReason::StatusChange => (CONFLICT, "status_change"),
        AdminReason::NotAuthorised => (StatusCode::FORBIDDEN, "not_authorised"),
        AdminReason::RulesNotRaised => (CONFLICT, "rules_not_raised"),
        AdminReason::RulesUnknown => (VALUE, "rules_unknown"),
        AdminReason::FormatTooOld => (CONFLICT, "format_too_old"),
        AdminReason::ParentKind => (VALUE, "parent_kind"),
        AdminReason::RulesTooOld => (CONFLICT, "rules_too_old"),
        AdminReason::FeeRounds => (VALUE, "fee_rounds"),
        AdminReason::OrdersHoldFee => (CONFLICT, "orders_hold_fee"),
        AdminReason::OrdersOpen => (CONFLICT, "orders_open"),
    }
}

impl From<AdminPortError> for Refusal {
    fn from(error: AdminPortError) -> Self {
        let (status, code) = match error {
            AdminPortError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            AdminPortError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            AdminPortError::TooLarge => (StatusCode::UNPROCESSABLE_ENTITY, "too_large"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<ShadowPortError> for Refusal {
    fn from(error: ShadowPortError) -> Self {
        let code = match error {
            ShadowPortError::Busy => "busy",
            ShadowPortError::Gone => "gone",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error, "detail": self.detail });
        if let Some(seq) = self.seq {
            body["seq"] = seq.into();
        }
        (self.status, Json(body)).into_response()
    }
}
