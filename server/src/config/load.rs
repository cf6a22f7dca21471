//! Puts the settings together from where they can come.

use std::collections::BTreeSet;
use std::env;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};

use super::{Config, Flags};

/// Settings as they are to be used.
#[derive(Debug)]
pub struct Loaded {
    /// Within their bounds.
    pub config: Config,
    /// Variables that look like settings and are none. Not an error: container platforms set
    /// `SLUICED_PORT` and the like for a service that is called sluiced.
    pub unknown_variables: Vec<String>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One cannot be read.
    #[error("{0}")]
    Unreadable(#[from] Box<figment::Error>),
    /// Some are out of bounds.
    #[error("{}", .0.join("\n"))]
    OutOfBounds(Vec<String>),
}

const PREFIX: &str = "SLUICED_";

impl Config {
    /// The settings that `flags`, the environment and the file that `flags` names give.
    ///
    /// # Errors
    /// When one cannot be read or is out of bounds.
    pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
        let names = names()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut settings = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = &flags.config {
            settings = settings.merge(Toml::file_exact(file));
        }
        let config: Config = settings
            .merge(Env::prefixed(PREFIX).only(&names))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(Box::new)?;
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(ConfigError::OutOfBounds(problems));
        }
        Ok(Loaded { config, unknown_variables: unknown_variables(&names) })
    }
}

/// The names of all settings.
fn names() -> Result<BTreeSet<String>, ConfigError> {
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let all: figment::value::Dict = defaults.extract().map_err(Box::new)?;
    Ok(all.into_keys().collect())
}

fn unknown_variables(names: &[&str]) -> Vec<String> {
    let known = |variable: &str| {
        let name = variable[PREFIX.len()..].to_ascii_lowercase();
        name == "config" || names.contains(&name.as_str())
    };
    let mut unknown: Vec<String> = env::vars_os()
        .filter_map(|(variable, _)| variable.into_string().ok())
        .filter(|variable| variable.starts_with(PREFIX) && !known(variable))
        .collect();
    unknown.sort();
    unknown
}

// figment's jail gives each test an environment and a directory of its own.
#[cfg(test)]
#[allow(clippy::result_large_err, reason = "the jail's closure returns figment's error")]
mod tests {
    use clap::Parser;
    use figment::Jail;

    use super::*;

    fn load(flags: &[&str]) -> Result<Loaded, ConfigError> {
        Config::load(&Flags::parse_from([&["sluiced"], flags].concat()))
    }

    #[test]
    fn flag_goes_before_variable_before_file_before_default() {
        Jail::expect_with(|jail| {
            jail.create_file(
                "sluiced.toml",
                "mailbox_calls = 10\nmax_in_flight = 10\nlisten = \"127.0.0.1:10\"",
            )?;
            jail.set_env("SLUICED_MAX_IN_FLIGHT", "20");
            jail.set_env("SLUICED_LISTEN", "127.0.0.1:20");
            let config = load(&["--config", "sluiced.toml", "--listen", "127.0.0.1:30"]).unwrap().config;
            assert_eq!(config.listen.port(), 30, "the flag");
            assert_eq!(config.max_in_flight, 20, "the variable");
            assert_eq!(config.mailbox_calls, 10, "the file");
            assert_eq!(config.http.port(), 7071, "the default");
            Ok(())
        });
    }

    #[test]
    fn switch_can_be_turned_off_again_by_a_flag() {
        Jail::expect_with(|jail| {
            jail.set_env("SLUICED_STRICT_QUEUES", "true");
            assert!(load(&[]).unwrap().config.strict_queues);
            assert!(!load(&["--strict-queues=false"]).unwrap().config.strict_queues);
            assert!(load(&["--strict-queues"]).unwrap().config.strict_queues);
            Ok(())
        });
    }

    #[test]
    fn file_can_be_named_by_a_variable() {
        Jail::expect_with(|jail| {
            jail.create_file("other.toml", "log_format = \"json\"")?;
            jail.set_env("SLUICED_CONFIG", "other.toml");
            let loaded = load(&[]).unwrap();
            assert_eq!(loaded.config.log_format, super::super::LogFormat::Json);
            assert!(loaded.unknown_variables.is_empty());
            Ok(())
        });
    }

    #[test]
    fn every_setting_can_come_from_a_variable() {
        Jail::expect_with(|jail| {
            let other = Config {
                listen: "127.0.0.1:1".parse().unwrap(),
                http: "127.0.0.1:2".parse().unwrap(),
                data_dir: "/elsewhere".into(),
                strict_queues: true,
                insecure_no_auth: true,
                auth_file: Some("/auth.toml".into()),
                tls_cert: Some("/cert.pem".into()),
                tls_key: Some("/key.pem".into()),
                tls_client_ca: Some("/ca.pem".into()),
                insecure_no_sync_filter: true,
                log_segment_bytes: 1 << 20,
                log_budget_bytes: 4 << 20,
                max_payload_bytes: 1_000,
                request_rate: 5,
                request_burst: 6,
                max_connections: 7,
                max_connections_per_address: 8,
                max_in_flight: 9,
                mailbox_calls: 10,
                mailbox_bytes: 2 << 20,
                worker_threads: 3,
                stop_grace_seconds: 4,
                log_format: super::super::LogFormat::Json,
                log_level: "debug".to_owned(),
                ..Default::default()
            };
            let values = Figment::from(Serialized::defaults(&other)).extract::<figment::value::Dict>()?;
            for (name, value) in values {
                let value = match value.as_str() {
                    Some(text) => text.to_owned(),
                    None => serde_json::to_string(&value).unwrap(),
                };
                jail.set_env(format!("SLUICED_{}", name.to_ascii_uppercase()), value);
            }
            assert_eq!(load(&[]).unwrap().config, other);
            Ok(())
        });
    }

    #[test]
    fn missing_file_and_unknown_key_are_errors() {
        Jail::expect_with(|jail| {
            assert!(matches!(load(&["--config", "none.toml"]), Err(ConfigError::Unreadable(_))));
            jail.create_file("typo.toml", "mailbox_call = 10")?;
            let error = load(&["--config", "typo.toml"]).unwrap_err().to_string();
            assert!(error.contains("mailbox_call"), "{error}");
            Ok(())
        });
    }

    #[test]
    fn unknown_variable_is_told_and_no_error() {
        Jail::expect_with(|jail| {
            jail.set_env("SLUICED_PORT", "tcp://10.0.0.1:7070");
            assert_eq!(load(&[]).unwrap().unknown_variables, ["SLUICED_PORT"]);
            Ok(())
        });
    }

    #[test]
    fn value_out_of_bounds_is_an_error_wherever_it_comes_from() {
        Jail::expect_with(|jail| {
            jail.set_env("SLUICED_MAILBOX_CALLS", "0");
            assert!(matches!(load(&[]), Err(ConfigError::OutOfBounds(_))));
            Ok(())
        });
    }
}
