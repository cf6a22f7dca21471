//! Power is lost, or the process killed, between any two operations; what was durable comes back.

use super::*;

/// What a life of the log got done, as its user knows it.
#[derive(Debug, Default)]
struct Done {
    /// Answered: must come back, if not retired.
    groups: Vec<Group>,
    /// Not answered: may come back.
    pending: Option<Vec<Mutation>>,
    /// What the home has taken over.
    retired_through: u64,
    last_group: u64,
}

/// Opens the log, checks that all that was done is there, and does a little more, until an operation
/// fails. The error is what was lost.
fn live(disk: &SimDisk, seed: u64, done: &mut Done) -> Result<(), String> {
    let (mut log, replayed, found) = match open(disk, done.retired_through) {
        Ok(opened) => opened,
        Err(StoreError::Io { .. }) => return Ok(()),
        Err(other) => return Err(other.to_string()),
    };
    check(done, &replayed, found)?;

    let mut chance = seed;
    let mut below = move |end: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % end
    };
    for _ in 0..24 {
        let first = 100 * log.next_group;
        let mutations = match below(8) {
            0 => vec![Mutation::Acked { id: JobId(first - 100), result: None }],
            1 => vec![enqueue(first, &[9_000])],
            _ => vec![enqueue(first, &[below(2_000) as usize, below(500) as usize])],
        };
        done.pending = Some(mutations.clone());
        let Ok(group) = append(&mut log, mutations) else { return Ok(()) };
        done.last_group = group.number;
        done.groups.push(group);
        done.pending = None;

        let oldest = log.segments().next().unwrap().number();
        if log.segments().len() > 3 {
            done.retired_through = oldest;
            done.groups.retain(|group| group.segment > oldest);
            let mutations = vec![Mutation::Retired { segment: oldest }];
            done.pending = Some(mutations.clone());
            let Ok(group) = append(&mut log, mutations) else { return Ok(()) };
            done.last_group = group.number;
            done.groups.push(group);
            done.pending = None;
            if log.retire(oldest).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn check(done: &mut Done, replayed: &Replayed, mut found: Vec<Group>) -> Result<(), String> {
    if replayed.last_group != done.last_group {
        // One more than was answered: the one that was on its way.
        let last = found.pop().ok_or("nothing came back")?;
        if last.number != done.last_group + 1 || Some(&last.mutations) != done.pending.as_ref() {
            return Err(format!(
                "{} groups were answered, but {} came back",
                done.last_group, replayed.last_group
            ));
        }
        done.last_group = last.number;
        done.groups.push(last.clone());
        found.push(last);
    }
    done.pending = None;
    if found == done.groups { Ok(()) } else { Err("other groups came back than were answered".to_owned()) }
}

/// Two lives after an orderly first, each cut off at every operation in turn.
fn crash_everywhere(plan: Plan, after: impl Fn(&SimDisk, u64) -> SimDisk) -> Result<(), String> {
    let operations = {
        let disk = SimDisk::new(Plan::default());
        live(&disk, 0, &mut Done::default())?;
        disk.operations()
    };
    assert!(operations > 80, "the test must do something");
    for stop in 0..operations {
        for seed in 0..3 {
            let mut done = Done::default();
            let set =
                |at| Plan { crash_at: plan.crash_at.map(|_| at), fail_at: plan.fail_at.map(|_| at), ..plan };
            let first = SimDisk::new(set(stop));
            live(&first, 0, &mut done)?;
            let second = after(&first, stop * 7 + seed);
            let second = SimDisk::after_kill(&second, set((stop * 31 + seed * 17) % operations));
            live(&second, seed, &mut done)?;
            let third = after(&second, stop * 13 + seed);
            live(&third, seed, &mut done)?;
        }
    }
    Ok(())
}

const CRASH: Plan = Plan { crash_at: Some(0), fail_at: None, lie_about_sync: false };
const FAIL: Plan = Plan { crash_at: None, fail_at: Some(0), lie_about_sync: false };

#[test]
fn loss_of_power_at_any_operation_loses_nothing_answered() {
    crash_everywhere(CRASH, |disk, seed| disk.after_power_loss(seed, Plan::default())).unwrap();
}

#[test]
fn a_kill_at_any_operation_loses_nothing_answered() {
    crash_everywhere(CRASH, |disk, _| disk.after_kill(Plan::default())).unwrap();
}

#[test]
fn a_kill_and_then_a_loss_of_power_loses_nothing_answered() {
    let after = |disk: &SimDisk, seed: u64| {
        if seed % 2 == 0 {
            disk.after_kill(Plan::default())
        } else {
            disk.after_power_loss(seed, Plan::default())
        }
    };
    crash_everywhere(CRASH, after).unwrap();
}

#[test]
fn a_failure_of_any_operation_loses_nothing_answered() {
    crash_everywhere(FAIL, |disk, _| disk.after_kill(Plan::default())).unwrap();
    crash_everywhere(FAIL, |disk, seed| disk.after_power_loss(seed, Plan::default())).unwrap();
}

/// The tests above can fail: a log that does not sync loses what it answered.
#[test]
fn without_syncs_the_loss_is_noticed() {
    let lying = Plan { lie_about_sync: true, ..CRASH };
    let lost = crash_everywhere(lying, |disk, seed| disk.after_power_loss(seed, Plan::default()));
    assert!(lost.is_err());
}
