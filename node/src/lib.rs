//! The node: everything that names a thread, a core, a socket, a path or the time.
//!
//! Read in this order: the kernel's side (`clock`, `machine`, `reactor`), the loops (`gateway`, `engine_loop`, `keeper`,
//! `market_gate`) and what lies between them (`ingress`, `outbox`, `marks`, `control`, `feed`, `admin_port`, `stages`,
//! `translate`), what follows the log beside them (`replica`, `shadow`, `history`, `shelf`, `schedule`, `retention`,
//! `patrol`), the start (`config`, `recover`), and how all of it is wired (`topology`, `run`).

pub mod bind;
pub mod clock;
pub mod fault;
pub mod machine;
pub mod pages;
pub mod pin;
pub mod reactor;

pub mod auth;
pub mod breather;
pub mod control;
pub mod engine_loop;
pub mod events;
pub mod feed;
pub mod filling;
pub mod gateway;
pub mod historian;
pub mod history;
pub mod ingress;
pub mod keeper;
pub mod market_gate;
pub mod marks;
pub mod numbers;
pub mod outbox;
pub mod patrol;
pub mod replica;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod shadow;
pub mod shadow_port;
pub mod stages;
pub mod streams;
pub mod translate;
pub mod unfinished;

pub mod admin_port;
pub mod attempts;
pub mod config;
pub mod edge;
pub mod exit;
pub mod leave_out;
pub mod log;
pub mod mutation;
pub mod recover;
pub mod registry;
pub mod secrets;
pub mod shelf;
pub mod status;
pub mod topology;
pub mod version;
