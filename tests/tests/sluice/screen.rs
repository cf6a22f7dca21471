//! `sluice watch`, as lines and on a terminal: how a real queue stands, as it changes.

use std::process::Stdio;
use std::time::Duration;

use sluice_proto::v1::{JobSpec, NackReason};
use sluice_tests::{Queue, Sluiced, binary, cli, spec};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: usize = 30;
const COLUMNS: usize = 100;

/// A program on a terminal of `script`'s making, and the screen as its user sees it.
struct Terminal {
    _child: Child,
    keys: ChildStdin,
    output: ChildStdout,
    seen: Vec<u8>,
}

impl Terminal {
    /// Runs `sluice` there between two readings of the terminal's modes; its exit code is said behind it.
    fn start(server: &Sluiced, arguments: &str) -> Terminal {
        let sluice = binary::sluice().display();
        let command = format!(
            "stty rows {ROWS} cols {COLUMNS}; echo \"before $(stty -g)\"; \
             {sluice} --addr {} {arguments}; echo \"code $?\"; echo \"after $(stty -g)\"",
            server.url()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--command", &command, "/dev/null"])
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (keys, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Terminal { _child: child, keys, output, seen: Vec::new() }
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Reads on until this is true of the screen.
    async fn until(&mut self, what: &str, is_true: impl Fn(&[String]) -> bool) {
        let read = async {
            while !is_true(&screen(&self.text())) {
                let mut chunk = [0; 4_096];
                let count = self.output.read(&mut chunk).await.unwrap();
                assert!(count > 0, "it ended before {what}: {}", self.text());
                self.seen.extend(&chunk[..count]);
            }
        };
        let done = tokio::time::timeout(PATIENCE, read).await.is_ok();
        assert!(done, "never {what}:\n{}", screen(&self.text()).join("\n"));
    }

    /// Reads on until the program on it is done: its exit code. The terminal is as it was before.
    async fn end(mut self) -> String {
        let rest = tokio::time::timeout(PATIENCE, self.output.read_to_end(&mut self.seen)).await;
        rest.expect("it ends").unwrap();
        let text = self.text();
        let said = |what: &str| {
            let line = text.lines().filter_map(|line| line.split_once(what)).next_back();
            line.unwrap_or_else(|| panic!("no {what:?} in {text:?}")).1.trim().to_owned()
        };
        assert_eq!(said("before "), said("after "), "the terminal's modes");
        let (entered, left) = (text.rfind("\u{1b}[?1049h"), text.rfind("\u{1b}[?1049l"));
        assert!(entered < left && text.find("\u{1b}[?1049h").is_some(), "the screen is given back");
        assert!(text.rfind("\u{1b}[?25h") > text.rfind("\u{1b}[?25l"), "so is the cursor");
        said("code ")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

/// What a terminal shows that was sent this: it knows where things are put and what clears, and no colours.
fn screen(text: &str) -> Vec<String> {
    let mut cells = vec![vec![' '; COLUMNS]; ROWS];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                let mut parameters = String::new();
                while let Some(char) = chars.next_if(|char| !char.is_ascii_alphabetic()) {
                    parameters.push(char);
                }
                let number =
                    |n: usize| parameters.split(';').nth(n).and_then(|n| n.parse().ok()).unwrap_or(1);
                match chars.next() {
                    Some('H' | 'f') => (row, column) = (number(0) - 1, number(1) - 1),
                    Some('J') => cells.iter_mut().for_each(|row| row.fill(' ')),
                    Some('A') => row = row.saturating_sub(number(0)),
                    Some('B') => row += number(0),
                    Some('C') => column += number(0),
                    Some('D') => column = column.saturating_sub(number(0)),
                    Some('G') => column = number(0) - 1,
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            char if !char.is_control() => {
                if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = char;
                }
                column += 1;
            }
            _ => {}
        }
    }
    cells.into_iter().map(|row| row.into_iter().collect()).collect()
}

/// Whether there is a row that begins with `name` and then has `value`.
fn shows(screen: &[String], name: &str, value: &str) -> bool {
    let rest = |row: &String| row.trim_start().strip_prefix(name).map(str::to_owned);
    screen.iter().filter_map(rest).any(|rest| rest.split_whitespace().next() == Some(value))
}

/// Whether the table has a row of this queue with so many jobs READY.
fn lists(screen: &[String], queue: &str, ready: &str) -> bool {
    screen.iter().any(|row| {
        let words: Vec<&str> = row.trim_start_matches(['>', ' ']).split_whitespace().take(3).collect();
        words.first() == Some(&queue) && words.last() == Some(&ready)
    })
}

fn holds(screen: &[String], text: &str) -> bool {
    screen.iter().any(|row| row.contains(text))
}

/// 1,234 jobs READY and others in other states.
async fn inhabited(server: &Sluiced, name: &str) -> Queue {
    let queue = server.queue(name);
    let settings =
        sluice_proto::v1::Queue { max_jobs: Some(1_600), ..spec::retrying(5, Duration::from_secs(3_600)) };
    queue.put(settings).await;
    queue.enqueue((0..18).map(|n| spec::urgent(9, &format!("urgent {n}"))).collect()).await;
    let out = queue.lease(18).await;
    for job in &out[..3] {
        queue.nack(job, NackReason::Rejected).await;
    }
    for job in &out[3..10] {
        queue.nack(job, NackReason::Failed).await;
    }
    let later = |_| JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("later") };
    queue.enqueue((0..57).map(later).collect()).await;
    queue.enqueue(spec::jobs("x", 1_234)).await;
    queue
}

#[tokio::test]
async fn terminal_shows_how_the_queue_stands_as_it_changes_and_is_as_it_was_after_q() {
    let server = Sluiced::fresh().await;
    let queue = inhabited(&server, "inhabited").await;
    let mut terminal = Terminal::start(&server, "watch --queue inhabited");
    let all = |screen: &[String]| {
        let depths =
            [("ready", "1,234"), ("scheduled", "57"), ("retrying", "7"), ("leased", "8"), ("dead", "3")];
        holds(screen, "inhabited") && depths.iter().all(|(name, depth)| shows(screen, name, depth))
    };
    terminal.until("every state's depth", all).await;
    // 1,306 of 1,600 are over 80 %.
    terminal.until("the level", |screen| holds(screen, "level WARNING")).await;
    queue.enqueue(spec::jobs("more", 294)).await;
    let full = |screen: &[String]| shows(screen, "ready", "1,528") && holds(screen, "level CRITICAL");
    terminal.until("more jobs, and that it is full", full).await;
    let out = queue.lease(1_000).await;
    terminal.until("the leased ones", |screen| shows(screen, "leased", "1,008")).await;
    queue.ack(&out).await;
    let drained = |screen: &[String]| shows(screen, "ready", "528") && shows(screen, "leased", "8");
    terminal.until("that they are done", drained).await;
    terminal.press("q").await;
    assert_eq!(terminal.end().await, "0");
}

#[tokio::test]
async fn terminal_lists_all_queues_goes_into_one_and_outlives_the_server() {
    let mut server = Sluiced::fresh().await;
    server.queue("alpha").enqueue(spec::jobs("x", 11)).await;
    server.queue("beta").enqueue(spec::jobs("x", 22)).await;
    let mut terminal = Terminal::start(&server, "watch");
    let both = |screen: &[String]| lists(screen, "alpha", "11") && lists(screen, "beta", "22");
    terminal.until("both queues", both).await;
    server.queue("gamma").enqueue(spec::jobs("x", 33)).await;
    terminal.until("one that came into being", |screen| lists(screen, "gamma", "33")).await;
    terminal.press("j\r").await;
    let inside = |screen: &[String]| holds(screen, "level OK") && shows(screen, "ready", "22");
    terminal.until("the second queue", inside).await;

    server.kill().await;
    terminal.until("that the server is away", |screen| holds(screen, "trying again")).await;
    server.start().await;
    server.queue("beta").enqueue(spec::jobs("x", 2)).await;
    let back = |screen: &[String]| shows(screen, "ready", "24") && !holds(screen, "trying again");
    terminal.until("that it is back", back).await;
    terminal.press("\u{3}").await;
    assert_eq!(terminal.end().await, "0", "Ctrl-C ends as well");
}

#[tokio::test]
async fn without_a_terminal_each_change_is_a_line() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("lines");
    queue.enqueue(spec::jobs("x", 2)).await;
    for (flags, is_json) in [(&[][..], false), (&["-o", "jsonl"][..], true), (&["-o", "json"][..], true)] {
        let ready = queue.status().await.counts.unwrap().ready;
        let mut child = Command::new(binary::sluice())
            .args(["--addr", &server.url(), "watch", "--queue", "lines", "--interval", "50ms"])
            .args(flags)
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut until = async |ready: u64| {
            loop {
                let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
                let line = line.expect("a change is a line").unwrap().expect("it goes on");
                assert!(!line.contains('\u{1b}'), "{line:?}");
                let seen = if is_json {
                    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(value["queue"], "lines");
                    value["counts"]["ready"].as_u64().unwrap()
                } else {
                    let words: Vec<&str> = line.split(' ').collect();
                    let at = words.iter().position(|word| *word == "ready").unwrap();
                    words[at + 1].parse().unwrap()
                };
                if seen == ready {
                    return;
                }
            }
        };
        until(ready).await;
        queue.enqueue(spec::jobs("x", 3)).await;
        until(ready + 3).await;
        let out = queue.lease(1).await;
        until(ready + 2).await;
        queue.ack(&out).await;
    }
}

/// Whoever looks once, right after a change was answered, sees it, though others watch all the while.
#[tokio::test]
async fn watch_once_tells_how_things_stand_now() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("now");
    queue.enqueue_one(spec::job("x")).await;
    let mut others = queue.watch().await;
    others.message().await.unwrap().unwrap();
    let _watching = tokio::spawn(async move { while let Ok(Some(_)) = others.message().await {} });
    for jobs in 2..10 {
        // Two changes on one another's heels: the second is the one that may be told late.
        let out = queue.lease(1).await;
        queue.nack(&out[0], NackReason::Released).await;
        queue.enqueue_one(spec::job("x")).await;
        let line = cli::run(&server, &["watch", "--once", "--queue", "now"]).await.ok();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains(&format!(" ready {jobs} ")), "there are {jobs}, and it says: {line}");
        let json = cli::run(&server, &["watch", "--once", "-o", "jsonl"]).await.lines();
        assert_eq!((json.len(), &json[0]["queue"], &json[0]["jobs"]), (1, &"now".into(), &jobs.into()));
    }
}
