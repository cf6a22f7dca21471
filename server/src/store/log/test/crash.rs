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
fn crash_everywhere(plan: Plan, first_end: End, second_end: End) -> Result<(), String> {
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
            let second = first_end(&first, stop * 7 + seed);
            let second = SimDisk::after_kill(&second, set((stop * 31 + seed * 17) % operations));
            live(&second, seed, &mut done)?;
            let third = second_end(&second, stop * 13 + seed);
            live(&third, seed, &mut done)?;
        }
    }
    Ok(())
}

/// What becomes of the disk at the end of a life.
type End = fn(&SimDisk, u64) -> SimDisk;

const KILL: End = |disk, _| disk.after_kill(Plan::default());
const POWER: End = |disk, seed| disk.after_power_loss(seed, Plan::default());

const CRASH: Plan = Plan { crash_at: Some(0), fail_at: None, lie_about_sync: false };
const FAIL: Plan = Plan { crash_at: None, fail_at: Some(0), lie_about_sync: false };

#[test]
fn loss_of_power_at_any_operation_loses_nothing_answered() {
    crash_everywhere(CRASH, POWER, POWER).unwrap();
}

#[test]
fn a_kill_at_any_operation_loses_nothing_answered() {
    crash_everywhere(CRASH, KILL, KILL).unwrap();
}

/// What a recovery found in the cache alone and told, it has made durable.
#[test]
fn a_kill_and_then_a_loss_of_power_loses_nothing_answered() {
    crash_everywhere(CRASH, KILL, POWER).unwrap();
}

/// After a failed sync the cache says what the disk does not hold: a recovery does not believe it.
#[test]
fn a_failure_of_any_operation_loses_nothing_answered() {
    crash_everywhere(FAIL, KILL, KILL).unwrap();
    crash_everywhere(FAIL, KILL, POWER).unwrap();
    crash_everywhere(FAIL, POWER, POWER).unwrap();
}

/// The tests above can fail: a log that does not sync loses what it answered.
#[test]
fn without_syncs_the_loss_is_noticed() {
    assert!(crash_everywhere(Plan { lie_about_sync: true, ..CRASH }, POWER, POWER).is_err());
}

#[test]
fn only_after_a_clean_stop_the_cache_is_believed() {
    for is_clean in [false, true] {
        let disk = SimDisk::new(Plan::default());
        let (mut log, ..) = open(&disk, 0).unwrap();
        for first in 1..4 {
            append(&mut log, vec![enqueue(first, &[6_000])]).unwrap();
        }
        if is_clean {
            log.append_clean(now(4)).unwrap();
        }
        disk.damage_under_cache(&path(1), 1_000, |bytes| bytes[0] ^= 1);
        assert_eq!(open(&disk, 0).is_ok(), is_clean);
    }
}
