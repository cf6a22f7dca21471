//! How results are printed. Knows forms, not what is printed.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

/// Characters of one cell of a table; JSON shows all.
const MAX_CELL_CHARS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON value.
    Json,
    /// A JSON value a line.
    Jsonl,
}

/// Something that can be printed in every form.
pub(super) trait Show: Serialize {
    /// The names of its columns.
    const HEADER: &'static [&'static str];
    /// Its line of a table.
    fn row(&self) -> Vec<String>;
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Output {
        Output { format }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// One value: a bare line for people, or JSON.
    pub(super) fn line(&self, text: &str, value: &impl Serialize) -> io::Result<()> {
        match self.format {
            Format::Table => write_line(text.as_bytes()),
            Format::Json | Format::Jsonl => self.json(value),
        }
    }

    /// One value: a name and a value a line for people, or JSON.
    pub(super) fn one<T: Show>(&self, value: &T) -> io::Result<()> {
        if self.format != Format::Table {
            return self.json(value);
        }
        let mut table = Table::new();
        table.load_style(NOTHING);
        for (name, value) in T::HEADER.iter().zip(value.row()) {
            if !value.is_empty() {
                table.add_row([name.to_lowercase(), cell(&value, usize::MAX)]);
            }
        }
        write_line(table.trim_fmt().as_bytes())
    }

    /// Many values: a table, an array, or a value a line.
    pub(super) fn many<T: Show>(&self, values: &[T]) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(&values),
            Format::Jsonl => values.iter().try_for_each(|value| self.json(value)),
            Format::Table if values.is_empty() => Ok(()),
            Format::Table => {
                let mut table = Table::new();
                table.load_style(NOTHING).set_header(T::HEADER);
                let row =
                    |value: &T| value.row().iter().map(|text| cell(text, MAX_CELL_CHARS)).collect::<Vec<_>>();
                table.add_rows(values.iter().map(row));
                write_line(table.trim_fmt().as_bytes())
            }
        }
    }

    /// JSON whatever the format: on one line for `jsonl`, else over many.
    pub(super) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        let text = match self.format {
            Format::Table | Format::Json => serde_json::to_vec_pretty(value)?,
            Format::Jsonl => serde_json::to_vec(value)?,
        };
        write_line(&text)
    }
}

/// What a payload or an error holds must neither move a terminal's cursor nor drown a table.
fn cell(text: &str, max_chars: usize) -> String {
    let mut cell = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            cell.push('…');
            break;
        }
        if c.is_control() { cell.extend(c.escape_default()) } else { cell.push(c) }
    }
    cell
}

/// Text from elsewhere, whole, with nothing in it that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    cell(text, usize::MAX)
}

/// Whole lines, so that readers of a pipe see each as soon as it is there.
pub(super) fn write_line(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// A remark for people.
pub(super) fn remark(text: &str) {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_holds_no_control_characters_and_is_cut() {
        assert_eq!(cell("a\u{1b}[2J\n", 60), "a\\u{1b}[2J\\n");
        assert_eq!(cell("abc", 2), "ab…");
        assert_eq!(cell("abc", 3), "abc");
    }
}
