//! How busy the machine is: what flow hints follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sysinfo::System;
use tokio_util::sync::CancellationToken;

/// How often the load is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// The part of all cores that is busy, as it was looked at last. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Load(Arc<AtomicU32>);

impl Load {
    /// 0 to 1; 0 until the first look.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from(f32::from_bits(self.0.load(Ordering::Relaxed)))
    }

    /// Sets it, as a look at the machine does.
    pub fn set(&self, load: f32) {
        self.0.store(load.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }

    /// Looks at it again and again until `stopping`.
    pub async fn follow(self, stopping: CancellationToken) {
        let mut system = match System::new() {
            Ok(system) => system,
            Err(error) => {
                return tracing::warn!(%error, "the machine's load cannot be told: hints say that it is low");
            }
        };
        // What is busy is told from one look to the next.
        system.refresh_cpu_usage();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            system.refresh_cpu_usage();
            self.set(system.global_cpu_usage() / 100.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_a_part_of_the_whole() {
        let load = Load::default();
        assert_eq!(load.get(), 0.0);
        load.set(0.5);
        assert_eq!(load.get(), 0.5);
        load.set(7.0);
        assert_eq!(load.get(), 1.0);
    }
}
