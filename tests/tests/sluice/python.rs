//! C5: a client that was generated from the contract in another language, with that language's own
//! tools. `./test` makes its environment (`tests/python/prepare`).

use std::process::Stdio;

use sluice_tests::{Sluiced, binary};

#[tokio::test]
async fn c5_python_client_generated_from_the_contract_drives_a_real_server() {
    let python = binary::workspace().join("target/python/bin/python");
    assert!(python.exists(), "{} is missing: run tests/python/prepare", python.display());
    let server = Sluiced::fresh().await;
    let output = tokio::process::Command::new(python)
        .arg(binary::workspace().join("tests/python/drive.py"))
        .arg(server.url().trim_start_matches("http://"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.ends_with("all good\n"), "{out}{err}");
}
