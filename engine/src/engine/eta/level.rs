//! One node on a job's way: its gates, and who shares them. Seconds and jobs, and nothing of the engine.

use crate::engine::eta::gauge::{Gauge, Rough};
use crate::limit::Unit;

/// A node on a job's way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    pub(crate) gauges: Vec<(Gauge, Unit)>,
    /// Nothing goes for so long.
    pub(crate) frozen: f64,
    /// What a job here costs on average, and what the one on its way does.
    pub(crate) mean_cost: f64,
    pub(crate) own_cost: f64,
    /// Children but the one on the way, by what they have of higher priorities.
    pub(crate) higher: Vec<Group>,
    /// The same, of the job's own priority.
    pub(crate) equal: Vec<Group>,
    /// What is less urgent, and ages.
    pub(crate) lower: Vec<Aged>,
    /// Leaves below those children.
    pub(crate) leaves: f64,
    /// What a child is limited to, if every child is: the strictest and the most generous.
    pub(crate) child: Bounds,
    /// The same, of what is below children, at each further level.
    pub(crate) deeper: Vec<Bounds>,
    /// How many turns of the child on the way are one turn of the others, at least and at most.
    pub(crate) turns: (f64, f64),
    /// Jobs a second that come at higher priorities, those of them that are sure to, and at its own to other children.
    pub(crate) higher_arrivals: f64,
    pub(crate) sure_arrivals: f64,
    pub(crate) fresh_arrivals: f64,
}

/// Children with about as many jobs each: at least `least`, less than twice as many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) least: f64,
    pub(crate) children: f64,
    pub(crate) jobs: f64,
}

/// Jobs of a lower priority that pass when they have waited for long enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aged {
    /// How long one waits until it passes.
    pub(crate) rise: f64,
    pub(crate) waited: f64,
    pub(crate) children: f64,
    pub(crate) jobs: f64,
}

/// What siblings send before a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Beside {
    pub(crate) jobs: f64,
    /// Those of the job's own priority among them: the turns of the node above go on with them.
    pub(crate) equal: f64,
}

/// What limits nodes of one depth by themselves. Empty: some have no limit, or none is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    /// The strictest such node's.
    pub(crate) strict: Vec<(Gauge, Unit)>,
    /// The most generous one's; empty when some node of the depth has no limit.
    pub(crate) generous: Vec<(Gauge, Unit)>,
}

impl Level {
    /// Until so many jobs and the one on its way are through.
    pub(crate) fn time(&self, ahead: f64) -> Rough {
        let each = self.gauges.iter().map(|(gauge, unit)| match unit {
            Unit::Jobs => gauge.time(ahead + 1.0),
            Unit::Cost => gauge.time(ahead * self.mean_cost + self.own_cost),
        });
        each.fold(Rough { least: self.frozen, most: self.frozen }, Rough::and)
    }

    /// How long each job takes in the long run.
    pub(crate) fn pace(&self) -> f64 {
        let each = self.gauges.iter().map(|(gauge, unit)| gauge.pace() * self.units(*unit));
        each.fold(0.0, f64::max)
    }

    fn units(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Jobs => 1.0,
            Unit::Cost => self.mean_cost,
        }
    }

    /// How many jobs one child sends within a span at most, as these limits go.
    fn within(&self, limits: &[(Gauge, Unit)], span: f64, at_once: bool) -> f64 {
        let each = limits.iter().map(|(gauge, unit)| gauge.within(span, at_once) / self.units(*unit));
        each.fold(f64::INFINITY, f64::min)
    }

    /// What siblings send before the job's child has had so many turns, at least. Within `span` they can take no more than
    /// their limits let through.
    pub(crate) fn least_beside(&self, turns: f64, span: f64) -> Beside {
        let child = self.within(&self.child.strict, span, false);
        let turns = turns * self.turns.0;
        let higher: f64 = self.higher.iter().map(|group| group.least_of(child)).sum();
        let equal: f64 = self.equal.iter().map(|group| group.least_of(turns.min(child))).sum();
        let deeper = self.deeper.iter().map(|bounds| self.leaves * self.within(&bounds.strict, span, false));
        // Without leaves nothing can be said of what is unlimited.
        let most = deeper.filter(|most| !most.is_nan()).fold(f64::INFINITY, f64::min);
        Beside { jobs: (higher + equal).min(most), equal: equal.min(most) }
    }

    /// As [`Level::least_beside`], at most.
    pub(crate) fn most_beside(&self, turns: f64, span: f64) -> Beside {
        let child = self.within(&self.child.generous, span, true);
        let turns = turns * self.turns.1;
        let higher: f64 = self.higher.iter().map(|group| group.most_of(child)).sum();
        let equal: f64 = self.equal.iter().map(|group| group.most_of(turns.min(child))).sum();
        Beside { jobs: higher + equal, equal }
    }

    /// Less urgent jobs that pass within a span, at most.
    pub(crate) fn aged_within(&self, span: f64) -> f64 {
        let each = self.lower.iter().map(|aged| {
            let rises = ((aged.waited + span) / aged.rise).floor();
            aged.jobs.min(rises * aged.children)
        });
        each.sum()
    }

    /// How many children take turns with the job's.
    pub(crate) fn ring(&self) -> f64 {
        self.equal.iter().map(|group| group.children).sum()
    }
}

impl Group {
    /// What its children send when each sends no more than `most`, at least: the sum of the smaller ones is least when
    /// all have as few or as many as can be.
    fn least_of(&self, most: f64) -> f64 {
        let greatest = 2.0 * self.least - 1.0;
        if most <= self.least {
            return self.children * most;
        }
        if most >= greatest {
            return self.jobs;
        }
        let mean = self.jobs / self.children;
        let great = ((mean - self.least) / (greatest - self.least)).clamp(0.0, 1.0);
        self.children * (great * most + (1.0 - great) * self.least)
    }

    /// The same, at most: when all have the same.
    fn most_of(&self, most: f64) -> f64 {
        self.children * most.min(self.jobs / self.children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten children of 64 to 127 jobs.
    const GROUP: Group = Group { least: 64.0, children: 10.0, jobs: 960.0 };

    #[test]
    fn children_send_no_more_than_they_have_and_no_more_than_their_turns() {
        assert_eq!((GROUP.least_of(10.0), GROUP.most_of(10.0)), (100.0, 100.0));
        assert_eq!((GROUP.least_of(500.0), GROUP.most_of(500.0)), (960.0, 960.0));
        let (least, most) = (GROUP.least_of(96.0), GROUP.most_of(96.0));
        assert!(790.0 < least && least < most && most == 960.0, "{least} {most}");
    }

    #[test]
    fn siblings_are_held_to_what_their_limits_let_through() {
        let limit = vec![(Gauge::Rate { debt: 0.0, spacing: 1.0, burst: 2.0 }, Unit::Jobs)];
        let level = Level {
            equal: vec![GROUP],
            child: Bounds { strict: limit.clone(), generous: limit },
            turns: (1.0, 1.0),
            ..Level::default()
        };
        assert_eq!(level.least_beside(50.0, 20.0).jobs, 200.0);
        assert_eq!(level.most_beside(50.0, 20.0).jobs, 220.0);
        assert_eq!(level.least_beside(10.0, 20.0).jobs, 100.0);
    }

    #[test]
    fn less_urgent_jobs_pass_only_when_they_have_waited() {
        let aged = Aged { rise: 60.0, waited: 30.0, children: 4.0, jobs: 10.0 };
        let level = Level { lower: vec![aged], ..Level::default() };
        assert_eq!(
            (level.aged_within(10.0), level.aged_within(30.0), level.aged_within(1e6)),
            (0.0, 4.0, 10.0)
        );
    }
}
