//! The queues between threads: what each carries, its capacity, and what happens when it is full.

pub mod admin_port;
pub mod control;
pub mod feed_items;
pub mod frames;
pub mod ingress;
pub mod outbox;
pub mod release_times;
pub mod stage_times;
pub mod stages;
