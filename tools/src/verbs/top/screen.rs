//! The live page: a thread that looks at the node, and a terminal that shows what it saw and hears keys.
//!
//! Invariant: the terminal is given back as it was, whichever way the view ends; a node that hangs does not hold the
//! keys up.

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

/// How late a new sample is seen at most, and a pressed key never.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Shows the node until somebody has seen enough.
pub fn watch(client: OpsClient, interval: Duration) -> Result<()> {
    ensure!(stdout().is_terminal(), "standard output is no terminal: --once prints one page, --json goes on printing");
    // Before the terminal is taken: that no node answers is to be read in the shell.
    let first = Sample::take(&client)?;
    let (news, samples) = sync_channel(1);
    thread::Builder::new().name("samples".to_owned()).spawn(move || look_on(&client, interval, &news))?;
    let terminal = ratatui::try_init();
    let outcome = terminal.context("taking the terminal").and_then(|terminal| View::new(first, samples).run(terminal));
    ratatui::restore();
    outcome
}

/// Looks until nobody listens any more. What goes wrong is news as well.
fn look_on(client: &OpsClient, interval: Duration, news: &SyncSender<Result<Sample>>) {
    loop {
        thread::sleep(interval);
        if news.send(Sample::take(client)).is_err() {
            return;
        }
    }
}

struct View {
    last: Sample,
    lines: Vec<PageLine>,
    /// Why the lines are old.
    trouble: Option<String>,
    samples: Receiver<Result<Sample>>,
}

impl View {
    fn new(first: Sample, samples: Receiver<Result<Sample>>) -> Self {
        let lines = page::of(&first, &first);
        Self { last: first, lines, trouble: None, samples }
    }

    fn run(mut self, mut terminal: DefaultTerminal) -> Result<()> {
        loop {
            terminal.draw(|frame| draw(frame, &self.lines, self.trouble.as_deref())).context("drawing")?;
            if event::poll(LOOK_EVERY).context("waiting for keys")? && is_end(&event::read().context("reading keys")?) {
                return Ok(());
            }
            match self.samples.try_recv() {
                Ok(outcome) => self.take(outcome),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the thread that looks at the node is gone"),
            }
        }
    }

    /// A node that does not answer leaves the last page as it is, and says so: it may be starting anew.
    fn take(&mut self, outcome: Result<Sample>) {
        match outcome {
            Ok(sample) => {
                self.lines = page::of(&self.last, &sample);
                (self.last, self.trouble) = (sample, None);
            }
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let by_control = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.is_press() && (by_control || key.code == KeyCode::Char('q'))
}

fn draw(frame: &mut Frame<'_>, lines: &[PageLine], trouble: Option<&str>) {
    let styled = |line: &PageLine| {
        let style = match line.tone {
            Tone::Plain => Style::new(),
            Tone::Title => Style::new().bold(),
            Tone::Alarm => Style::new().fg(Color::Red).bold(),
        };
        Line::styled(line.text.clone(), style)
    };
    let trouble = trouble.map(|trouble| PageLine::alarm(format!("what follows is old: {trouble}")));
    let end = [PageLine::plain(""), PageLine::plain("q or Ctrl-C ends")];
    let text: Text<'_> = trouble.iter().chain(lines).chain(&end).map(styled).collect();
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
        terminal.draw(|frame| draw(frame, &view.lines, view.trouble.as_deref())).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_the_page_and_why_it_is_old() {
        let (_news, samples) = sync_channel(1);
        let mut view = View::new(sample(100), samples);
        assert!(shown(&view).contains("no time has passed yet"), "{}", shown(&view));
        view.take(Ok(sample(150)));
        for part in ["pinion  ready", "commands                10", "10.0 us", "q or Ctrl-C ends"] {
            assert!(shown(&view).contains(part), "{part} is missing in {}", shown(&view));
        }
        view.take(Err(anyhow::anyhow!("nobody there")));
        assert!(shown(&view).contains("what follows is old: nobody there"), "{}", shown(&view));
        assert!(shown(&view).contains("commands                10"), "the last page stays");
        view.take(Ok(sample(200)));
        assert!(!shown(&view).contains("old"), "{}", shown(&view));
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
