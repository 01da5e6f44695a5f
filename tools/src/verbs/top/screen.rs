//! The live page: a thread that samples the node, and a terminal that shows the samples and reads keys.
//!
//! Invariants: the terminal is restored, however the page ends; a node that hangs does not delay the keys.

use super::page::{self, PageLine, Tone};
use super::sample::Sample;
use crate::client::ops_client::OpsClient;
use anyhow::{Context, Result, bail, ensure};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use std::io::{IsTerminal, stdout};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// A new sample is shown after at most this time; a pressed key is handled at once.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Shows the node until the user ends it.
pub fn watch(client: OpsClient, interval: Duration) -> Result<()> {
    ensure!(
        stdout().is_terminal(),
        "standard output is not a terminal; --once prints one page, --json prints a line an interval"
    );
    // Before the terminal is switched: an error here has to stay readable in the shell.
    let first = Sample::take(&client)?;
    let (sender, samples) = sync_channel(1);
    thread::Builder::new().name("samples".to_owned()).spawn(move || sample_forever(&client, interval, &sender))?;
    let terminal = ratatui::try_init();
    let outcome =
        terminal.context("switching the terminal").and_then(|terminal| View::new(first, samples).run(terminal));
    ratatui::restore();
    outcome
}

/// Samples until the receiver is gone. A failure to sample is sent as well.
#[expect(clippy::disallowed_methods, reason = "the view is refreshed at an interval")]
fn sample_forever(client: &OpsClient, interval: Duration, sender: &SyncSender<Result<Sample>>) {
    loop {
        thread::sleep(interval);
        if sender.send(Sample::take(client)).is_err() {
            return;
        }
    }
}

struct View {
    last: Sample,
    lines: Vec<PageLine>,
    /// Why `lines` are out of date.
    failure: Option<String>,
    samples: Receiver<Result<Sample>>,
}

impl View {
    fn new(first: Sample, samples: Receiver<Result<Sample>>) -> Self {
        let lines = page::of(&first, &first);
        Self { last: first, lines, failure: None, samples }
    }

    fn run(mut self, mut terminal: DefaultTerminal) -> Result<()> {
        loop {
            terminal.draw(|frame| draw(frame, &self.lines, self.failure.as_deref())).context("drawing")?;
            if event::poll(POLL_EVERY).context("waiting for keys")? && is_end(&event::read().context("reading keys")?) {
                return Ok(());
            }
            match self.samples.try_recv() {
                Ok(outcome) => self.show(outcome),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the thread that samples the node has ended"),
            }
        }
    }

    /// While the node does not answer the last page stays, marked as out of date: the node may be restarting.
    fn show(&mut self, outcome: Result<Sample>) {
        match outcome {
            Ok(sample) => {
                self.lines = page::of(&self.last, &sample);
                (self.last, self.failure) = (sample, None);
            }
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let by_control = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.is_press() && (by_control || key.code == KeyCode::Char('q'))
}

fn draw(frame: &mut Frame<'_>, lines: &[PageLine], failure: Option<&str>) {
    let styled = |line: &PageLine| {
        let style = match line.tone {
            Tone::Plain => Style::new(),
            Tone::Title => Style::new().bold(),
            Tone::Alarm => Style::new().fg(Color::Red).bold(),
        };
        Line::styled(line.text.clone(), style)
    };
    let failure = failure.map(|why| PageLine::alarm(format!("the figures below are out of date: {why}")));
    let end = [PageLine::plain(""), PageLine::plain("q or Ctrl-C ends")];
    let text: Text<'_> = failure.iter().chain(lines).chain(&end).map(styled).collect();
    frame.render_widget(Paragraph::new(text), frame.area());
}

#[cfg(test)]
mod tests {
    use super::super::change::tests::sample;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    fn shown(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 30)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, &view.lines, view.failure.as_deref())).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_the_page_and_why_it_is_out_of_date() {
        let (_sender, samples) = sync_channel(1);
        let mut view = View::new(sample(100), samples);
        assert!(shown(&view).contains("no time has passed yet"), "{}", shown(&view));
        view.show(Ok(sample(150)));
        for part in ["pinion  ready", "commands                10", "10.0 us", "q or Ctrl-C ends"] {
            assert!(shown(&view).contains(part), "{part} is missing in {}", shown(&view));
        }
        view.show(Err(anyhow::anyhow!("connection refused")));
        assert!(shown(&view).contains("the figures below are out of date: connection refused"), "{}", shown(&view));
        assert!(shown(&view).contains("commands                10"), "the last page stays");
        view.show(Ok(sample(200)));
        assert!(!shown(&view).contains("out of date"), "{}", shown(&view));
    }

    #[test]
    fn q_and_control_c_end_it_and_nothing_else_does() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_end(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_end(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        for other in
            [key(KeyCode::Char('c'), KeyModifiers::NONE), key(KeyCode::Esc, KeyModifiers::NONE), Event::Resize(1, 1)]
        {
            assert!(!is_end(&other), "{other:?}");
        }
    }
}
