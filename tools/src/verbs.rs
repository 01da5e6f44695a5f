//! The verbs: each `pinion VERB` is the file or folder of that name.

pub mod admin;
pub mod backup;
pub mod ballast;
pub mod book;
pub mod cancel;
pub mod check_config;
pub mod demo;
pub mod doctor;
pub mod init;
pub mod load;
pub mod log;
pub mod order;
pub mod recon;
pub mod replay;
pub mod replay_day;
pub mod restore;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod top;
pub mod upgrade;
pub mod watch;
