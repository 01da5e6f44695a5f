//! The operator's tool, `pinion`: one file per verb, and what they share.
#![forbid(unsafe_code)]

pub mod failure;
pub mod ops_client;

pub mod admin;
pub mod check_config;
pub mod doctor;
pub mod init;
pub mod status;
pub mod top;

pub mod clock;
pub mod durable_directory;
pub mod interrupt;
pub mod new_place;
pub mod output;
pub mod past;
pub mod progress;
pub mod time_text;

pub mod recon;
pub mod replay_log;
pub mod restore;
pub mod snapshot;
pub mod state;

pub mod day;
pub mod published_book;
pub mod zip;

pub mod http_setup;
pub mod market_data;
pub mod node_address;
pub mod setup;

pub mod replay;
pub mod replay_day;

pub mod flow;
pub mod line;
pub mod load;

pub mod answer_text;
pub mod trader;

pub mod book_verb;
pub mod cancel;
pub mod order;
pub mod watch;

pub mod demo;
pub mod demo_node;

pub mod command_json;
pub mod log;

pub mod backup;
