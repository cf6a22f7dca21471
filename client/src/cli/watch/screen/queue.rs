//! One queue: its depth per state and its rates over time, and what happened so far.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Stylize,
    text::{Line, Span},
};

use super::{
    flow, graph,
    level::level,
    number::{bytes, count, depth, percent, rate, span, whole},
};
use crate::{
    cli::{
        output::printable,
        watch::{
            board::Track,
            measure::{MEASURES, Measure},
        },
    },
    proto::QueueStatus,
    span_from_proto,
};

/// `dispatched/s` and what stands before and after it.
const NAME_WIDTH: u16 = 14;
const VALUE_WIDTH: u16 = 12;
/// ` peak 12.3k`.
const PEAK_WIDTH: u16 = 12;
/// Below this a graph has no room for its peak.
const MIN_PEAK_WIDTH: u16 = 60;
/// Rows that a screen needs to show each rate as a graph of its own.
const MIN_FULL_ROWS: u16 = 14;
/// Rows of the graph of what is ready: enough to see it well, and so many that more would not say more.
const ENOUGH_ROWS: u16 = 8;
const MAX_READY_ROWS: u16 = 16;
/// Rows of each other graph.
const MAX_OTHER_ROWS: u16 = 3;
/// Error codes that are shown, those that came most often.
const MAX_CODES: usize = 8;

pub(super) fn draw(frame: &mut Frame, queue: &str, track: Option<&Track>, area: Rect) {
    let Some(track) = track else {
        let text = format!(" {}: nothing is known of it", printable(queue));
        frame.render_widget(Line::from(text), area);
        return;
    };
    let status = &track.status;
    let full = area.height >= MIN_FULL_ROWS;
    let mut head = heading(queue, status);
    if full {
        head.extend(facts(status));
    }
    let foot = if full { [totals(status), codes(status)] } else { [rates(status), totals(status)] };
    let head = flow::lines(head, area.width);
    let foot: Vec<_> = foot.into_iter().flat_map(|parts| flow::lines(parts, area.width)).collect();
    let graphs = if full { full_graphs(area.height, head.len() + foot.len()) } else { depth_graphs() };
    draw_rows(frame, track, head, &graphs, foot, area);
}

/// One row each for the jobs of each state.
fn depth_graphs() -> Vec<(Measure, u16)> {
    Measure::ALL.into_iter().filter(|measure| !measure.is_rate()).map(|measure| (measure, 1)).collect()
}

/// All measures, and the rows of each where so many lines of text take theirs.
fn full_graphs(height: u16, lines: usize) -> Vec<(Measure, u16)> {
    let spare = height.saturating_sub(u16::try_from(lines).unwrap_or(u16::MAX));
    let others = MEASURES as u16 - 1;
    // Ready is what people look at: the others grow when it has enough, and what they leave is its too.
    let each = (spare.saturating_sub(ENOUGH_ROWS) / others).clamp(1, MAX_OTHER_ROWS);
    let ready = spare.saturating_sub(others * each).clamp(1, MAX_READY_ROWS);
    let rows = |measure| if measure == Measure::Ready { ready } else { each };
    Measure::ALL.into_iter().map(|measure| (measure, rows(measure))).collect()
}

/// One below the other, as far as the area goes.
fn draw_rows(
    frame: &mut Frame,
    track: &Track,
    head: Vec<Line>,
    graphs: &[(Measure, u16)],
    texts: Vec<Line>,
    mut area: Rect,
) {
    let mut next = |height: u16| {
        let taken = Rect { height: height.min(area.height), ..area };
        area.y += taken.height;
        area.height -= taken.height;
        taken
    };
    for line in head {
        frame.render_widget(line, next(1));
    }
    for (measure, height) in graphs {
        draw_graph(frame, track, *measure, next(*height));
    }
    for line in texts {
        frame.render_widget(line, next(1));
    }
}

fn draw_graph(frame: &mut Frame, track: &Track, measure: Measure, area: Rect) {
    let peak_width = if area.width < MIN_PEAK_WIDTH { 0 } else { PEAK_WIDTH };
    let columns = [
        Constraint::Length(NAME_WIDTH),
        Constraint::Length(VALUE_WIDTH),
        Constraint::Min(0),
        Constraint::Length(peak_width),
    ];
    let [name, value, graph, peak] = Layout::horizontal(columns).areas(area);
    let number = measure.of(&track.status);
    let text = if measure.is_rate() { rate(number) } else { whole(number as u64) };
    frame.render_widget(Line::from(format!(" {}", measure.name())), name);
    frame.render_widget(Line::from(format!("{text} ")).bold().right_aligned(), value);
    let values = || track.history.values(measure);
    for (row, text) in graph.rows().zip(graph::rows(values(), graph.width.into(), graph.height.into())) {
        frame.render_widget(Line::from(text), row);
    }
    let highest = graph::peak(values(), graph.width.into()).into();
    let text = if measure.is_rate() { rate(highest) } else { depth(highest) };
    frame.render_widget(Line::from(format!(" peak {text}")).dim(), peak);
}

fn heading(queue: &str, status: &QueueStatus) -> Vec<Line<'static>> {
    let mut level = vec![Span::from("level "), level(status)];
    level.extend(status.utilization.map(|utilization| Span::from(format!(" {}", percent(utilization)))));
    let mut parts = vec![Line::from(printable(queue).bold()), Line::from(level)];
    if status.paused {
        parts.push(Line::from("paused".bold()));
    }
    let age = status.oldest_ready_age.as_ref().map(|age| span(span_from_proto(age).as_secs()));
    parts.extend(age.map(|age| Line::from(format!("oldest ready {age}"))));
    parts
}

fn facts(status: &QueueStatus) -> Vec<Line<'static>> {
    let mut parts = vec![
        format!("{} jobs, {}", whole(status.jobs), bytes(status.bytes)),
        format!("waiting: {} Lease, {} Enqueue", status.waiting_leases, status.waiting_enqueues),
    ];
    if let Some(left) = &status.time_to_empty {
        parts.push(format!("empty in {}", span(span_from_proto(left).as_secs())));
    }
    if let Some(hint) = &status.flow_hint {
        let level = hint.load_level().as_str_name().trim_start_matches("LOAD_LEVEL_").to_lowercase();
        parts.push(format!("load {level}"));
    }
    parts.into_iter().map(Line::from).collect()
}

/// As text, where graphs of them have no room.
fn rates(status: &QueueStatus) -> Vec<Line<'static>> {
    let names = [
        (Measure::Enqueued, "in"),
        (Measure::Dispatched, "out"),
        (Measure::Acked, "acked"),
        (Measure::Failed, "failed"),
    ];
    names.map(|(measure, name)| Line::from(format!("{name} {}/s", rate(measure.of(status))))).into()
}

fn totals(status: &QueueStatus) -> Vec<Line<'static>> {
    let totals = status.totals.clone().unwrap_or_default();
    let names = [
        ("total: enqueued", totals.enqueued),
        ("completed", totals.completed),
        ("failed", totals.failed_attempts),
        ("throttled", totals.throttled),
        ("dead", totals.dead),
        ("dropped", totals.dropped),
        ("cancelled", totals.cancelled),
        ("expired", totals.expired),
        ("drained", totals.drained),
        ("requeued", totals.requeued),
        ("removed", totals.removed),
    ];
    names.map(|(name, number)| Line::from(format!("{name} {}", count(number as f64)))).into()
}

/// Why attempts failed, the most frequent first.
fn codes(status: &QueueStatus) -> Vec<Line<'static>> {
    let totals = status.totals.clone().unwrap_or_default();
    let mut codes: Vec<_> = totals.failed_by_code.into_iter().collect();
    codes.sort_by(|(a, times_a), (b, times_b)| times_b.cmp(times_a).then_with(|| a.cmp(b)));
    codes.truncate(MAX_CODES);
    let part = |(index, (code, times)): (usize, (String, u64))| {
        let first = if index == 0 { "by code: " } else { "" };
        Line::from(format!("{first}{} {}", printable(&code), count(times as f64)))
    };
    codes.into_iter().enumerate().map(part).collect()
}
