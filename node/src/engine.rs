//! The engine loop (stamp, journal, apply, release) and the cycle of the pinned threads that drives it.

pub mod ended_lives;
pub mod engine_loop;
pub mod events;
pub mod next_run;
pub mod opening;
pub mod run;
pub mod unfinished;
