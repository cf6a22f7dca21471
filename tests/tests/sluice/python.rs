//! C5: a client that was generated from the contract in another language, with that language's own
//! tools. `./test` makes its environment (`tests/python/prepare`).

use std::process::Stdio;

use sluice_tests::authority::Authority;
use sluice_tests::guarded::{Guarded, identity};
use sluice_tests::{Sluiced, binary};

#[tokio::test]
async fn c5_python_client_generated_from_the_contract_drives_a_real_server() {
    let server = Sluiced::fresh().await;
    drive(&[server.url().trim_start_matches("http://")], "").await;
}

#[tokio::test]
async fn s1_6_python_client_speaks_tls_and_sends_its_token() {
    let authority = Authority::new();
    let all = ["enqueue", "consume", "read", "admin"];
    let guarded = Guarded::start_secure(&identity("python", "secret", "*", &all), &authority, None).await;
    let ca = guarded.files().write("ca.pem", authority.pem());
    drive(&[guarded.server.url().trim_start_matches("http://"), &ca], "secret").await;
}

async fn drive(arguments: &[&str], token: &str) {
    let python = binary::workspace().join("target/python/bin/python");
    assert!(python.exists(), "{} is missing: run tests/python/prepare", python.display());
    let output = tokio::process::Command::new(python)
        .arg(binary::workspace().join("tests/python/drive.py"))
        .args(arguments)
        .env("SLUICE_TOKEN", token)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.ends_with("all good\n"), "{out}{err}");
}
