//! Makes a script that fails shorter: parts of it are left out for as long as it fails.

use super::script::{Call, Script, Step};

/// Runs of a shrinking, at most.
const MAX_RUNS: usize = 4_000;

/// A script that still fails, of which hardly anything can be left out.
pub(super) fn shrink(script: Script, fails: impl Fn(&Script) -> bool) -> Script {
    let mut runs = 0;
    let mut best = script;
    loop {
        let before = best.clone();
        // Halves, then quarters, down to single steps; then single calls, and jobs of them.
        let mut part = best.0.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < best.0.len() && runs < MAX_RUNS {
                let mut shorter = best.clone();
                shorter.0.drain(at..(at + part).min(shorter.0.len()));
                runs += 1;
                if fails(&shorter) {
                    best = shorter;
                } else {
                    at += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
        for at in 0..best.0.len() {
            let mut call = 0;
            while let Step::Group { calls, .. } = &best.0[at]
                && call < calls.len()
                && runs < MAX_RUNS
            {
                let jobs = if let Call::Enqueue { jobs, .. } = &calls[call] { jobs.len() } else { 0 };
                let mut shorter = best.clone();
                if let Step::Group { calls, .. } = &mut shorter.0[at] {
                    calls.remove(call);
                }
                runs += 1;
                if fails(&shorter) {
                    best = shorter;
                    continue;
                }
                for job in (0..jobs).rev().filter(|_| jobs > 1) {
                    let mut shorter = best.clone();
                    if let Step::Group { calls, .. } = &mut shorter.0[at]
                        && let Call::Enqueue { jobs, .. } = &mut calls[call]
                        && jobs.len() > 1
                    {
                        jobs.remove(job);
                    }
                    runs += 1;
                    if fails(&shorter) {
                        best = shorter;
                    }
                }
                call += 1;
            }
        }
        if best == before || runs >= MAX_RUNS {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_goes() {
        let step = |seconds| Step::SetWall { seconds };
        let script = Script((0..60).map(step).collect());
        let needs = |script: &Script| script.0.contains(&step(7)) && script.0.contains(&step(41));
        assert_eq!(shrink(script, needs), Script(vec![step(7), step(41)]));
    }
}
