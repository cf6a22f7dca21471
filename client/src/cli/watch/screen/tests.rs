//! Whole screens, character by character. A picture that is meant to change is copied from the failure.

use ratatui::{Terminal, backend::TestBackend};

use super::draw;
use crate::{
    cli::watch::{
        feed::{Scope, Update},
        key::Action,
        model::Model,
    },
    proto::{QueueLevel, QueueRates, QueueStatus, QueueTotals, StateCounts},
};

/// The screen as text, lines without their trailing blanks.
fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let symbol = |x, y| buffer.cell((x, y)).unwrap().symbol().to_owned();
    let line = |y| (0..width).map(|x| symbol(x, y)).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

#[track_caller]
fn assert_screen(model: &Model, width: u16, height: u16, golden: &str) {
    let screen = screen(model, width, height);
    assert!(screen == golden, "another picture:\n{screen}");
}

fn status(queue: &str, ready: u64) -> QueueStatus {
    QueueStatus {
        queue: queue.to_owned(),
        counts: Some(StateCounts { ready, leased: 8, retrying: 3, dead: 2, ..Default::default() }),
        jobs: ready + 11,
        bytes: 256 * (ready + 11),
        oldest_ready_age: Some(prost_types::Duration { seconds: 130, nanos: 500_000_000 }),
        rates: Some(QueueRates { enqueued: 120.0, dispatched: 98.5, acked: 97.0, failed: 1.5 }),
        time_to_empty: Some(prost_types::Duration { seconds: 75, nanos: 0 }),
        totals: Some(QueueTotals {
            enqueued: 1_234_567,
            completed: 1_200_000,
            failed_attempts: 30,
            failed_by_code: [("timeout", 12), ("http_500", 18)].map(|(code, n)| (code.to_owned(), n)).into(),
            ..Default::default()
        }),
        level: QueueLevel::Ok.into(),
        waiting_leases: 4,
        ..Default::default()
    }
}

fn update(statuses: Vec<QueueStatus>) -> Update {
    Update { statuses, ..Update::default() }
}

/// A minute of a queue that fills and is worked off in turns.
fn one() -> Model {
    let mut model = Model::new("http://127.0.0.1:7070", &Scope::new(Some("mail".to_owned())));
    for second in 0..60 {
        model.update(update(vec![status("mail", 100 * (second % 20) + 34)]));
        model.tick();
    }
    model
}

fn many() -> Model {
    let mut model = Model::new("http://127.0.0.1:7070", &Scope::new(None));
    for second in 0..30 {
        let full = QueueStatus {
            utilization: Some(0.83),
            level: QueueLevel::Warning.into(),
            ..status("sms.reminders", 83_000 + second)
        };
        let paused = QueueStatus {
            utilization: Some(1.0),
            level: QueueLevel::Critical.into(),
            paused: true,
            ..status("webhooks", 50 * second)
        };
        model.update(update(vec![status("mail", 1000 - second), full, paused]));
        model.tick();
    }
    model.press(Action::Move(1));
    model
}

#[test]
fn one_queue_has_its_numbers_and_their_history() {
    assert_screen(&one(), 80, 24, include_str!("golden/one.txt"));
}

#[test]
fn many_queues_stand_in_a_table() {
    assert_screen(&many(), 120, 12, include_str!("golden/many.txt"));
}

#[test]
fn narrow_terminal_shows_what_matters_most() {
    assert_screen(&one(), 40, 10, include_str!("golden/one_narrow.txt"));
    assert_screen(&many(), 40, 10, include_str!("golden/many_narrow.txt"));
}

#[test]
fn lost_server_is_said_and_what_was_seen_stays() {
    let mut model = one();
    model.lose("UNAVAILABLE: the connection broke\u{1b}[2J");
    for _ in 0..12 {
        model.tick();
    }
    assert_screen(&model, 80, 24, include_str!("golden/lost.txt"));
}

#[test]
fn server_that_was_never_there_leaves_an_empty_table() {
    let mut model = Model::new("http://127.0.0.1:7070", &Scope::new(None));
    assert!(screen(&model, 60, 5).contains("connecting"));
    model.lose("UNAVAILABLE: connection refused");
    assert!(screen(&model, 60, 5).contains("no connection for 0s: UNAVAILABLE: connection refused"));
}

#[test]
fn paused_display_and_opened_queue_say_how_to_go_on() {
    let mut model = many();
    model.press(Action::Pause);
    model.press(Action::Open);
    let screen = screen(&model, 80, 24);
    assert!(screen.contains("display paused live"), "{screen}");
    assert!(screen.contains(" sms.reminders  level WARNING 83%  oldest ready 2m 10s"), "{screen}");
    assert!(screen.contains("p go on  Esc back"), "{screen}");
}

#[test]
fn control_characters_of_names_never_reach_the_screen() {
    let mut model = Model::new("http://127.0.0.1:7070", &Scope::new(None));
    model.update(update(vec![status("a\u{1b}[2J\n", 1)]));
    assert!(screen(&model, 80, 6).contains("a\\u{1b}[2J\\n"));
    model.press(Action::Open);
    assert!(screen(&model, 80, 24).contains(" a\\u{1b}[2J\\n  level OK"));
}

#[test]
fn selected_row_is_on_the_screen_however_many_there_are() {
    let mut model = Model::new("http://127.0.0.1:7070", &Scope::new(None));
    model.update(update((0..100).map(|number| status(&format!("q{number:02}"), number)).collect()));
    model.press(Action::Move(isize::MAX));
    assert!(screen(&model, 80, 10).contains("> q99"));
    model.press(Action::Move(-98));
    assert!(screen(&model, 80, 10).contains("> q01"));
}

#[test]
fn no_size_is_too_small() {
    for model in [one(), many()] {
        for (width, height) in [(1, 1), (2, 3), (10, 2), (3, 40), (400, 1), (400, 100)] {
            screen(&model, width, height);
        }
    }
}
