//! All queues, a row each.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Row, Table},
};

use super::{
    flow, graph,
    level::level,
    number::{count, percent, rate, span, whole},
};
use crate::{
    cli::{
        output::printable,
        watch::{
            board::{MAX_QUEUES, Track},
            measure::Measure,
            model::Model,
        },
    },
    proto::QueueStatus,
};

const SPACING: u16 = 1;
/// The mark of the selected row, which is not told by its colours alone.
const MARK_WIDTH: u16 = 1;
const NAME_WIDTH: std::ops::RangeInclusive<u16> = 12..=40;
const TREND: &str = "READY TREND";
/// A graph narrower than this says nothing.
const MIN_GRAPH_WIDTH: u16 = 11;
/// Columns that go before the graph; the others come after it.
const ESSENTIAL: usize = 6;

struct Column {
    header: &'static str,
    width: u16,
    cell: fn(&QueueStatus) -> Span<'static>,
}

/// Behind the name, as many as there is room for: the first are the ones that matter most.
const COLUMNS: [Column; 12] = [
    Column { header: "LEVEL", width: 8, cell: level },
    Column { header: "READY", width: 6, cell: |status| measure(Measure::Ready, status) },
    Column { header: "LEASED", width: 6, cell: |status| measure(Measure::Leased, status) },
    Column { header: "DEAD", width: 6, cell: |status| measure(Measure::Dead, status) },
    Column { header: "IN/S", width: 6, cell: |status| measure(Measure::Enqueued, status) },
    Column { header: "ACKED/S", width: 7, cell: |status| measure(Measure::Acked, status) },
    Column { header: "OLDEST", width: 7, cell: oldest },
    Column { header: "USED", width: 5, cell: used },
    Column { header: "PAUSED", width: 6, cell: paused },
    Column { header: "FAILED/S", width: 8, cell: |status| measure(Measure::Failed, status) },
    Column { header: "RETRYING", width: 8, cell: |status| measure(Measure::Retrying, status) },
    Column { header: "SCHEDULED", width: 9, cell: |status| measure(Measure::Scheduled, status) },
];

pub(super) fn draw(frame: &mut Frame, model: &Model, area: Rect) {
    let [summary, table] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(flow::lines(summed_up(model), area.width).swap_remove(0), summary);

    // One row is the header's.
    let height = usize::from(table.height.saturating_sub(1)).max(1);
    let selected = model.selected_row();
    let first = selected.saturating_sub(height - 1);
    let tracks: Vec<_> = model.board().queues().iter().skip(first).take(height).collect();
    let names: Vec<_> = tracks.iter().map(|(name, _)| printable(name)).collect();
    let longest = names.iter().map(|name| Span::from(name.as_str()).width()).max().unwrap_or(0);
    let name_width = u16::try_from(longest).unwrap_or(u16::MAX).clamp(*NAME_WIDTH.start(), *NAME_WIDTH.end());
    let (columns, graph_width) = fitting(table.width, name_width);

    let row = |(index, (name, (_, track))): (usize, (&String, &(&String, &Track)))| {
        let chosen = first + index == selected;
        let mark = if chosen { ">" } else { " " };
        let mut cells = vec![Line::from(mark), Line::from(name.clone())];
        cells.extend(columns.iter().map(|column| Line::from((column.cell)(&track.status)).right_aligned()));
        if graph_width > 0 {
            let values = track.history.values(Measure::Ready);
            cells.extend(graph::rows(values, graph_width.into(), 1).into_iter().map(Line::from));
        }
        let style = if chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Row::new(cells).style(style)
    };
    let rows = names.iter().zip(&tracks).enumerate().map(row);

    let mut widths = vec![MARK_WIDTH, name_width];
    widths.extend(columns.iter().map(|column| column.width));
    let mut header = vec![Line::default(), Line::from("QUEUE")];
    header.extend(columns.iter().map(|column| Line::from(column.header).right_aligned()));
    if graph_width > 0 {
        widths.push(graph_width);
        header.push(Line::from(TREND));
    }
    let header = Row::new(header).bold();
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(SPACING), table);
}

/// The columns that there is room for, and what is left for a graph.
fn fitting(width: u16, name_width: u16) -> (&'static [Column], u16) {
    let mut left = width.saturating_sub(MARK_WIDTH + SPACING + name_width);
    let mut fits = 0;
    let mut graph = 0;
    for column in &COLUMNS {
        if fits == ESSENTIAL {
            graph = if left < SPACING + MIN_GRAPH_WIDTH { 0 } else { SPACING + MIN_GRAPH_WIDTH };
            left -= graph;
        }
        let Some(rest) = left.checked_sub(SPACING + column.width) else { break };
        left = rest;
        fits += 1;
    }
    // What no column takes is the graph's.
    (&COLUMNS[..fits], if graph == 0 { 0 } else { graph - SPACING + left })
}

fn summed_up(model: &Model) -> Vec<Line<'static>> {
    let queues = model.board().queues();
    let most = whole(MAX_QUEUES as u64);
    if model.board().is_overfull() {
        return vec![
            format!("the first {most} queues seen").into(),
            "--queue PATTERN narrows them down".into(),
        ];
    }
    let sum = |measure: Measure| queues.values().map(|track| measure.of(&track.status)).sum::<f64>();
    let noun = if queues.len() == 1 { "queue" } else { "queues" };
    vec![
        format!("{} {noun}", queues.len()).into(),
        format!("ready {}", count(sum(Measure::Ready))).into(),
        format!("in {}/s", rate(sum(Measure::Enqueued))).into(),
        format!("acked {}/s", rate(sum(Measure::Acked))).into(),
    ]
}

fn measure(measure: Measure, status: &QueueStatus) -> Span<'static> {
    let number = measure.of(status);
    Span::from(if measure.is_rate() { rate(number) } else { count(number) })
}

fn oldest(status: &QueueStatus) -> Span<'static> {
    let seconds = status.oldest_ready_age.map(|age| u64::try_from(age.seconds).unwrap_or(0));
    Span::from(seconds.map(span).unwrap_or_default())
}

fn used(status: &QueueStatus) -> Span<'static> {
    Span::from(status.utilization.map(percent).unwrap_or_default())
}

fn paused(status: &QueueStatus) -> Span<'static> {
    Span::from(if status.paused { "paused" } else { "" })
}
