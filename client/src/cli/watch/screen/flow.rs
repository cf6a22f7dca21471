//! Parts of text one behind the other, broken into lines between them and never inside: half a number is
//! a lie.

use ratatui::text::{Line, Span};

/// Two blanks stand between parts, one before the first.
const GAP: &str = "  ";

/// As few lines as they need. What is longer than a line has one of its own, and is cut.
pub(super) fn lines(parts: impl IntoIterator<Item = Line<'static>>, width: u16) -> Vec<Line<'static>> {
    let mut lines: Vec<Line> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.width() + GAP.len() + part.width() <= width.into() => {
                line.push_span(GAP);
                line.extend(part.spans);
            }
            _ => {
                let mut line = Line::from(vec![Span::from(" ")]);
                line.extend(part.spans);
                lines.push(line);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_broken_between_and_never_inside() {
        let parts = || ["ready 10", "dead 2", "leased 100"].map(Line::from);
        let text = |width| lines(parts(), width).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(80), [" ready 10  dead 2  leased 100"]);
        assert_eq!(text(17), [" ready 10  dead 2", " leased 100"]);
        assert_eq!(text(16), [" ready 10", " dead 2", " leased 100"]);
        assert_eq!(text(3).len(), 3);
    }
}
