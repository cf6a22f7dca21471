//! Values over time as columns of blocks, the newest at the right. Knows characters, no colours.

/// A row of a column, filled by eighths.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A time of which nothing is known.
const GAP: char = '·';

/// So many rows, top first, each so many characters. The highest of the values seen fills its column; what is
/// more than nothing shows at least an eighth of a row.
pub(super) fn rows(
    newest_first: impl Iterator<Item = Option<f32>>,
    width: usize,
    height: usize,
) -> Vec<String> {
    let values: Vec<_> = newest_first.take(width).collect();
    let peak = values.iter().flatten().copied().fold(0.0, f32::max);
    let steps = |value: f32| -> usize {
        let full = (height * (BLOCKS.len() - 1)) as f32;
        // What is not a number, and what is below 0, becomes 0 by the cast.
        if peak > 0.0 { (value / peak * full).ceil() as usize } else { 0 }
    };
    let row = |from_bottom: usize| -> String {
        let block = |value: &Option<f32>| match value {
            Some(value) => {
                let above = steps(*value).saturating_sub(from_bottom * (BLOCKS.len() - 1));
                BLOCKS[above.min(BLOCKS.len() - 1)]
            }
            None if from_bottom == 0 => GAP,
            None => ' ',
        };
        let before = std::iter::repeat_n(' ', width - values.len());
        before.chain(values.iter().rev().map(block)).collect()
    };
    (0..height).rev().map(row).collect()
}

/// The highest of the values that so many columns show.
pub(super) fn peak(newest_first: impl Iterator<Item = Option<f32>>, width: usize) -> f32 {
    newest_first.take(width).flatten().fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(newest_first: &[f32], width: usize, height: usize) -> Vec<String> {
        rows(newest_first.iter().copied().map(Some), width, height)
    }

    #[test]
    fn highest_value_fills_its_column_and_a_small_one_still_shows() {
        assert_eq!(drawn(&[100.0, 50.0, 0.1, 0.0], 4, 1), [" ▁▄█"]);
        assert_eq!(drawn(&[100.0, 50.0, 25.0, 0.1], 4, 2), ["   █", "▁▄██"]);
    }

    #[test]
    fn newest_is_at_the_right_and_the_oldest_falls_off() {
        assert_eq!(drawn(&[8.0, 1.0], 4, 1), ["  ▁█"]);
        assert_eq!(drawn(&[1.0, 8.0, 100.0], 2, 1), ["█▁"]);
    }

    #[test]
    fn gaps_and_senseless_values_are_drawn_as_such() {
        assert_eq!(rows([Some(1.0), None, Some(f32::NAN), Some(-1.0)].into_iter(), 4, 1), ["  ·█"]);
        assert_eq!(drawn(&[0.0, 0.0], 2, 1), ["  "]);
        assert_eq!(drawn(&[1.0], 0, 1), [""]);
        assert!(drawn(&[1.0], 3, 0).is_empty());
    }
}
