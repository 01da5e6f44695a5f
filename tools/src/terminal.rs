//! The terminal: output, progress, errors and their exit codes, times, commands and answers as text and JSON.

pub mod answer_text;
pub mod clock;
pub mod command_json;
pub mod failure;
pub mod interrupt;
pub mod output;
pub mod progress;
pub mod time_text;
