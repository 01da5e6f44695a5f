//! Attacks, and what each costs: on the engine alone, and on a node that serves honest clients beside it.

pub mod attacks;
pub mod commands;
pub mod honest;
pub mod line;
pub mod node;
