//! How limits of a node are written on the command line: `rate=30/60s/5,quota=1000/24h,breaker=5/30s`.

use std::str::FromStr;

use clap::ValueEnum;

use super::capacity::Overflow;
use super::span;
use crate::{
    proto::{CircuitBreaker, NodeSettings, Window, WindowKind, WindowUnit},
    span_to_proto,
};

/// `none`, or settings without a capacity.
pub(in crate::cli) fn limits(text: &str) -> Result<NodeSettings, String> {
    if text == "none" {
        return Ok(NodeSettings::default());
    }
    let settings = node(text)?;
    let has_capacity =
        settings.max_jobs.is_some() || settings.max_bytes.is_some() || settings.overflow_policy != 0;
    if has_capacity {
        return Err("a queue's capacity is said with --max-jobs, --max-bytes and --overflow".to_owned());
    }
    Ok(settings)
}

/// Settings of a node, separated by commas; windows may come several times.
pub(super) fn node(text: &str) -> Result<NodeSettings, String> {
    let mut settings = NodeSettings::default();
    for setting in super::settings(text) {
        let (name, value) = setting?;
        let mut put = |kind, unit| -> Result<(), String> {
            settings.windows.push(window(name, value, kind, unit)?);
            Ok(())
        };
        match name {
            "rate" => put(WindowKind::Rate, WindowUnit::Jobs)?,
            "rate_cost" => put(WindowKind::Rate, WindowUnit::Cost)?,
            "quota" => put(WindowKind::Quota, WindowUnit::Jobs)?,
            "quota_cost" => put(WindowKind::Quota, WindowUnit::Cost)?,
            "max_in_flight" => settings.max_in_flight = Some(number(name, value)?),
            "weight" => settings.weight = Some(number(name, value)?),
            "ordered" => {
                settings.ordered = value.parse().map_err(|_| format!("{name}: true or false"))?;
            }
            "adaptive" => {
                settings.adaptive = Some(value.parse().map_err(|_| format!("{name}: true or false"))?);
            }
            "breaker" => settings.breaker = Some(breaker(name, value)?),
            "max_jobs" => settings.max_jobs = Some(number(name, value)?),
            "max_bytes" => settings.max_bytes = Some(number(name, value)?),
            "overflow" => settings.overflow_policy = Overflow::from_str(value, false)?.into_proto().into(),
            _ => {
                return Err(format!(
                    "`{name}` is none of rate, rate_cost, quota, quota_cost, max_in_flight, weight, ordered, adaptive, \
                     breaker, max_jobs, max_bytes, overflow"
                ));
            }
        }
    }
    Ok(settings)
}

fn number<N: FromStr>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{name}: a whole number"))
}

/// `FAILURES/OPEN`.
fn breaker(name: &str, text: &str) -> Result<CircuitBreaker, String> {
    let wrong = || format!("{name}: write `{text}` as FAILURES/OPEN, such as 5/30s");
    let (failures, open) = text.split_once('/').ok_or_else(wrong)?;
    Ok(CircuitBreaker {
        consecutive_failures: failures.parse().map_err(|_| wrong())?,
        open_duration: Some(span_to_proto(span(open)?)),
    })
}

/// `AMOUNT/PERIOD`, of a rate also `AMOUNT/PERIOD/BURST`.
fn window(name: &str, text: &str, kind: WindowKind, unit: WindowUnit) -> Result<Window, String> {
    let wrong = || match kind {
        WindowKind::Quota => format!("{name}: write `{text}` as AMOUNT/PERIOD, such as 1000/24h"),
        _ => format!("{name}: write `{text}` as AMOUNT/PERIOD or AMOUNT/PERIOD/BURST, such as 30/60s/5"),
    };
    let mut parts = text.split('/');
    let (amount, period, burst) = (parts.next(), parts.next().ok_or_else(wrong)?, parts.next());
    if parts.next().is_some() || (burst.is_some() && kind == WindowKind::Quota) {
        return Err(wrong());
    }
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok(Window {
        kind: kind.into(),
        amount: number(amount.unwrap_or_default())?,
        period: Some(span_to_proto(span(period)?)),
        burst: burst.map(number).transpose()?,
        unit: unit.into(),
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;

    #[test]
    fn limits_are_read() {
        let said =
            limits("rate=30/60s/5,quota_cost=1000/24h,max_in_flight=10,weight=3,ordered=true").unwrap();
        let period = |seconds| Some(Duration { seconds, nanos: 0 });
        let [rate, quota] = said.windows[..] else { panic!("{said:?}") };
        assert_eq!(
            (rate.kind(), rate.amount, rate.period, rate.burst),
            (WindowKind::Rate, 30, period(60), Some(5))
        );
        assert_eq!(
            (quota.kind(), quota.unit(), quota.period),
            (WindowKind::Quota, WindowUnit::Cost, period(86_400))
        );
        assert_eq!((said.max_in_flight, said.weight, said.ordered), (Some(10), Some(3), true));
        assert_eq!((said.adaptive, said.breaker), (None, None));
        assert_eq!(limits("none"), Ok(NodeSettings::default()));
        let said = limits("adaptive=false,breaker=5/30s").unwrap();
        let breaker = CircuitBreaker { consecutive_failures: 5, open_duration: period(30) };
        assert_eq!((said.adaptive, said.breaker), (Some(false), Some(breaker)));
        for wrong in [
            "",
            "rate",
            "rate=30",
            "rate=x/1s",
            "rate=30/soon",
            "rate=1/1s/2/3",
            "quota=1/1s/2",
            "ordered=maybe",
            "adaptive=",
            "breaker=5",
            "breaker=x/30s",
            "breaker=5/soon",
            "max_jobs=3",
            "speed=1/1s",
        ] {
            assert!(limits(wrong).is_err(), "{wrong}");
        }
    }
}
