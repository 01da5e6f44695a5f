//! The operator's tool, `pinion`: one file per verb, and what they share.
#![forbid(unsafe_code)]

pub mod failure;
pub mod ops_client;

pub mod admin;
pub mod check_config;
pub mod init;
pub mod status;
