//! What others want of the shadow: answers as of a sequence, snapshots.

use super::Shadow;
use crate::replica::questions::{WISHES_MAX, Wish};
use book::units::Seq;

impl Shadow {
    pub(super) fn take_wishes(&mut self) {
        // Those beyond stay in the port, which refuses more when it is full too.
        while self.questions.len() + self.snapshots.wished_for() < WISHES_MAX {
            let Ok(wish) = self.wiring.inlet.wishes.try_recv() else { break };
            match wish {
                Wish::Ask { .. } => self.questions.push(wish),
                Wish::Snapshot { reply } => self.snapshots.wish(reply),
            }
        }
    }

    pub(super) fn answer_questions(&mut self) {
        let (applied, written) = (Seq(self.tail.seq.0), self.history.watermark());
        let is_ready = |wish: &mut Wish| match wish {
            Wish::Ask { seq, history, .. } => *seq <= if *history { written } else { applied },
            Wish::Snapshot { .. } => false,
        };
        for wish in self.questions.extract_if(.., is_ready) {
            if let Wish::Ask { question, .. } = wish {
                question(&self.replica);
            }
        }
    }

    /// Whether somebody waits for the history of what is applied.
    pub(super) fn is_asked_for_history(&self) -> bool {
        let applied = Seq(self.tail.seq.0);
        self.questions.iter().any(|wish| matches!(wish, Wish::Ask { seq, history: true, .. } if *seq <= applied))
    }
}
