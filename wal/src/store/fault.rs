//! A table's faults as errors of the log.

use std::path::Path;

use crate::error::{Action, Damage, WalError};
use crate::table::{TableFault, TableFaultKind};
use crate::units::Lsn;

/// `seq` is the record that was to be read or written, [`Lsn::ZERO`] where there is none.
pub(super) fn store_error(action: Action, path: &Path, seq: Lsn, fault: TableFault) -> WalError {
    let TableFault { kind, message } = fault;
    if kind == TableFaultKind::Corrupt {
        return WalError::damaged(path, 0, seq, Damage::Store(message));
    }
    let no_space = kind == TableFaultKind::NoSpace;
    WalError::Store { action, path: path.to_owned(), seq, message, no_space }
}

/// The directory's IDENTITY promises a complete database, so one that is missing or incomplete is damage.
pub(super) fn open_error(path: &Path, fault: TableFault) -> WalError {
    if fault.kind == TableFaultKind::Incomplete {
        return WalError::damaged(path, 0, Lsn::ZERO, Damage::Store(fault.message));
    }
    store_error(Action::Open, path, Lsn::ZERO, fault)
}
